import type { Embedder, Engine } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import type { PromptMaker } from '@butterfly/text';

/** A model that answers: its engine, and what stands between words and tokens. */
export interface AnsweringModel {
  readonly id: string;
  readonly engine: Engine & Embedder;
  readonly vocabulary: Vocabulary;
  readonly prompts: PromptMaker;
}
