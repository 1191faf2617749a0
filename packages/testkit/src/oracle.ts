import { ensure } from '@butterfly/common';
import type { CacheType } from '@butterfly/wire';
import type { ControlledEvaluateInputItem, Llama, LlamaContextSequence, LlamaModel } from 'node-llama-cpp';
import { branded, ggmlCacheTypes, loadLlama, logitsOf, nextLogits } from './oracle-library.js';

export interface OracleOptions {
  readonly threads: number;
  /** llama.cpp rounds it up to a multiple of 256. */
  readonly contextTokens: number;
  /** Rows that llama.cpp computes at once; 512 by default. */
  readonly batchTokens?: number;
  /** On by default. */
  readonly flashAttention?: boolean;
  /** Of keys and of values; F16 by default. */
  readonly cacheType?: CacheType;
}

/** Takes the token after this one greedily. */
const nextToken = { generateNext: { token: true, options: { temperature: 0 } } } as const;
type Wanted = typeof nextToken | typeof nextLogits;

/**
 * Loads a model (given its first file) into llama.cpp.
 * @throws whatever node-llama-cpp throws for a file that llama.cpp refuses
 */
export async function openOracle(path: string, options: OracleOptions): Promise<Oracle> {
  const { llama, model } = await loadLlama(path);
  try {
    const batchTokens = options.batchTokens ?? 512;
    const cacheType = ggmlCacheTypes[options.cacheType ?? 'f16'];
    const context = await model.createContext({
      contextSize: options.contextTokens,
      batchSize: batchTokens,
      flashAttention: options.flashAttention ?? true,
      experimentalKvCacheKeyType: cacheType,
      experimentalKvCacheValueType: cacheType,
      threads: { ideal: options.threads, min: options.threads },
      ignoreMemorySafetyChecks: true,
      failedCreationRemedy: false,
    });
    return new Oracle(llama, model, context.getSequence(), batchTokens);
  } catch (thrown) {
    await llama.dispose();
    throw thrown;
  }
}

/**
 * llama.cpp itself, through node-llama-cpp, on the same CPU: what Butterfly's numbers and speed are
 * compared with. One sequence; every call starts from an empty cache, and only one may run at a time.
 */
export class Oracle implements AsyncDisposable {
  constructor(
    private readonly llama: Llama,
    private readonly model: LlamaModel,
    private readonly sequence: LlamaContextSequence,
    private readonly batchTokens: number,
  ) {}

  /** Tokens without a leading BOS; `special` reads special tokens out of the text. */
  tokenize(text: string, special: boolean): number[] {
    return this.model.tokenize(text, special);
  }

  /** `special` writes special tokens into the text. */
  detokenize(tokens: readonly number[], special: boolean): string {
    return this.model.detokenize(branded(tokens), special);
  }

  /** The `count` most likely tokens, one after the other, whether or not one of them ends the text. */
  async greedy(prompt: readonly number[], count: number): Promise<number[]> {
    await this.#restart(prompt.length + count);
    const tokens: number[] = [];
    let next = prompt;
    while (tokens.length < count) {
      const token = required((await this.#evaluate(next, nextToken)).token);
      tokens.push(token);
      next = [token];
    }
    return tokens;
  }

  /**
   * Raw logits by token id: after the prompt, which is computed in one batch, and after each token of the continuation,
   * computed one by one as in decoding. Thus one array more than the continuation has tokens.
   */
  async logits(prompt: readonly number[], continuation: readonly number[]): Promise<Float32Array[]> {
    return this.logitsAfter([prompt, ...continuation.map((token) => [token])]);
  }

  /** Raw logits by token id after the last token of each batch of a sequence. */
  async logitsAfter(batches: readonly (readonly number[])[]): Promise<Float32Array[]> {
    await this.#restart(batches.reduce((sum, { length }) => sum + length, 0));
    const results: Float32Array[] = [];
    for (const tokens of batches) {
      ensure(
        tokens.length <= this.batchTokens,
        () => `a part of ${tokens.length} tokens is more than one batch`,
      );
      results.push(logitsOf(required((await this.#evaluate(tokens, nextLogits)).logits)));
    }
    return results;
  }

  /** Milliseconds to compute a prompt and choose the token after it. */
  async timePrefill(prompt: readonly number[]): Promise<number> {
    await this.#restart(prompt.length);
    const startMs = performance.now();
    await this.#evaluate(prompt, nextToken);
    return performance.now() - startMs;
  }

  /** Milliseconds to decode `count` tokens after a prompt, the prompt excluded. */
  async timeDecode(prompt: readonly number[], count: number): Promise<number> {
    await this.#restart(prompt.length + count);
    // The library's own loop, which is its fastest way.
    const tokens = this.sequence.evaluate(branded(prompt), { temperature: 0, yieldEogToken: true });
    await tokens.next();
    const startMs = performance.now();
    for (let index = 0; index < count; index++) await tokens.next();
    const elapsedMs = performance.now() - startMs;
    await tokens.return();
    return elapsedMs;
  }

  /** Frees all native memory and threads, so that the process can exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.llama.dispose();
  }

  /** Empties the cache for so many tokens. */
  async #restart(tokens: number): Promise<void> {
    const { contextSize } = this.sequence;
    // A full context would be shifted silently, and the numbers would no longer compare.
    ensure(tokens < contextSize, () => `${tokens} tokens do not fit the oracle's context of ${contextSize}`);
    await this.sequence.clearHistory();
  }

  /** Computes tokens after those in the cache, and gives what is wanted after the last. */
  async #evaluate(tokens: readonly number[], wanted: Wanted) {
    const items = branded(tokens).map((token, index): ControlledEvaluateInputItem =>
      index === tokens.length - 1 ? [token, wanted] : token,
    );
    return required((await this.sequence.controlledEvaluate(items)).at(-1)).next;
  }
}

function required<T>(value: T | null | undefined): T {
  ensure(value !== null && value !== undefined, () => 'llama.cpp gave no result');
  return value;
}
