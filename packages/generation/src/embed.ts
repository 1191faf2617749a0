import { ButterflyError, limits } from '@butterfly/common';
import { type Embedding, vectorOf } from '@butterfly/engine';
import type { Pooling } from '@butterfly/wire';
import type { AnsweringModel } from './answering-model.js';
import type { PlainInput } from './spec.js';

/** Texts whose embeddings are wanted. */
export interface EmbedSpec {
  readonly inputs: readonly PlainInput[];
  /** The field that the inputs came from, for the words of errors. */
  readonly inputField: string;
  /** Null for the model's own. */
  readonly pooling: Pooling | null;
  /** The first so many numbers of each vector, for models that were trained for it; null for all. */
  readonly dimensions: number | null;
  /** Whether vectors are made of length 1. */
  readonly isNormalised: boolean;
  /** Whether a text that is too long loses its end instead of being refused. */
  readonly isTruncated: boolean;
  readonly timeoutMs: number;
  /** As in `GenerationSpec`; 0 where it is absent. */
  readonly priority?: number;
  readonly tenant?: string | undefined;
  readonly requestId?: string | undefined;
}

/** Vectors of texts, in the order in which they were asked for. */
export interface Embeddings {
  /** One for each input. */
  readonly vectors: readonly Float32Array[];
  readonly promptTokens: number;
}

/** Embeddings of several texts, so many at once that others get their turn. */
export class EmbeddingRun {
  readonly #underWay = new Set<Embedding>();
  readonly #tokens: readonly Int32Array[];
  #cancelled = false;

  /**
   * Cuts all texts into tokens first, so that nothing is computed of a request that is refused.
   * @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID, REQUEST_UNSUPPORTED
   */
  constructor(
    private readonly model: AnsweringModel,
    private readonly spec: EmbedSpec,
  ) {
    this.#tokens = spec.inputs.map((input, index) => embeddingTokens(model, spec, input, index));
  }

  /** Of all texts together. */
  get promptTokens(): number {
    return this.#tokens.reduce((sum, { length }) => sum + length, 0);
  }

  /** @throws ButterflyError the first that a text failed with, and with it the others; CANCELLED */
  async run(): Promise<Embeddings> {
    const vectors: Float32Array[] = [];
    const pending = this.#tokens.entries();
    const lane = async (): Promise<void> => {
      for (const [index, tokens] of pending) vectors[index] = this.#finished(await this.#vector(tokens));
    };
    try {
      await Promise.all(Array.from({ length: limits.embeddingsAtOnce }, lane));
    } finally {
      this.cancel();
    }
    return { vectors, promptTokens: this.promptTokens };
  }

  cancel(): void {
    this.#cancelled = true;
    for (const embedding of this.#underWay) embedding.cancel();
  }

  async #vector(tokens: Int32Array): Promise<Float32Array> {
    if (this.#cancelled) throw new ButterflyError('CANCELLED', 'The request was cancelled before its end.');
    const { priority = 0, pooling, timeoutMs, tenant, requestId } = this.spec;
    const embedding = this.model.engine.embed({ tokens, pooling, priority, tenant, requestId, timeoutMs });
    this.#underWay.add(embedding);
    try {
      return await vectorOf(embedding);
    } finally {
      this.#underWay.delete(embedding);
    }
  }

  #finished(vector: Float32Array): Float32Array {
    const { dimensions, isNormalised, inputField } = this.spec;
    if (dimensions !== null && dimensions > vector.length)
      throw new ButterflyError(
        'REQUEST_INVALID',
        `dimensions: the embeddings of this model have ${vector.length} numbers; ask for at most as many.`,
        { param: inputField === 'input' ? 'dimensions' : inputField },
      );
    const kept = dimensions === null ? vector : vector.slice(0, dimensions);
    return isNormalised ? normalised(kept) : kept;
  }
}

/** Of length 1; a vector of zeros stays one. */
function normalised(vector: Float32Array): Float32Array {
  let sum = 0;
  for (const value of vector) sum += value * value;
  const length = Math.sqrt(sum);
  return length === 0 ? vector : vector.map((value) => value / length);
}

/** The tokens of a text with those that the vocabulary puts before and behind it; the words of clients are never special. */
function embeddingTokens(
  { engine, vocabulary }: AnsweringModel,
  { inputField, pooling, isTruncated }: EmbedSpec,
  input: PlainInput,
  index: number,
): Int32Array {
  const tokens =
    input.kind === 'tokens'
      ? input.tokens
      : vocabulary.tokenize(input.text, { addSpecial: true, parseSpecial: false });
  const unknown = tokens.find((token) => token >= vocabulary.size);
  const invalid = (what: string) =>
    new ButterflyError('REQUEST_INVALID', `${inputField}.${index}: ${what}.`, { param: inputField });
  if (unknown !== undefined)
    throw invalid(`there is no token ${unknown}; the vocabulary ends at ${vocabulary.size - 1}`);
  if (tokens.length === 0) throw invalid('is empty; send at least one token');
  const most = engine.embeddingTokensMax(pooling);
  if (tokens.length <= most) return tokens;
  if (isTruncated) return tokens.slice(0, most);
  throw new ButterflyError(
    'CONTEXT_EXCEEDED',
    `This model's maximum context length is ${most} tokens. However, ${inputField}.${index} has ${tokens.length} tokens. Please reduce the length of the ${inputField}.`,
    { param: inputField },
  );
}
