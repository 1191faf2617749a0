import type { Vocabulary } from '@butterfly/ggml';
import type { ModelSpec } from '@butterfly/model';

/** What the orchestrator needs of a model file: its description and its tokenizer. */
export interface OpenedModel {
  readonly spec: ModelSpec;
  readonly vocabulary: Vocabulary;
  /** Name under which the API offers it: that of the file. */
  readonly id: string;
}
