import { ensure } from '@butterfly/common';
import type { CacheType } from '@butterfly/wire';
import type { LlamaContext, LlamaContextSequence } from 'node-llama-cpp';
import {
  branded,
  ggmlCacheTypes,
  loadLlama,
  logitsOf,
  nextLogits,
  type LoadedLlama,
} from './oracle-library.js';

export interface OracleStepsOptions {
  readonly threads: number;
  readonly sequences: number;
  /** Of one sequence. */
  readonly contextTokens: number;
  /** Of keys and of values; F16 by default. */
  readonly cacheType?: CacheType;
}

/** Tokens of a sequence in a step. */
export interface OraclePart {
  /** From 0. */
  readonly sequence: number;
  readonly tokens: readonly number[];
}

/**
 * Loads a model (given its first file) into llama.cpp, for steps of several sequences that the caller decides on.
 * @throws whatever node-llama-cpp throws for a file that llama.cpp refuses
 */
export async function openOracleSteps(path: string, options: OracleStepsOptions): Promise<OracleSteps> {
  const loaded = await loadLlama(path);
  const cacheType = ggmlCacheTypes[options.cacheType ?? 'f16'];
  const sizes: number[] = [];
  try {
    const context = await loaded.model.createContext({
      sequences: options.sequences,
      contextSize: options.contextTokens,
      batchSize: 512,
      flashAttention: true,
      threads: { ideal: options.threads, min: options.threads },
      experimentalKvCacheKeyType: cacheType,
      experimentalKvCacheValueType: cacheType,
      batching: {
        itemPrioritizationStrategy: ({ items }) => {
          sizes.push(items.length);
          return items.map((item) => ({ item, processAmount: item.tokens.length }));
        },
      },
      ignoreMemorySafetyChecks: true,
      failedCreationRemedy: false,
    });
    return new OracleSteps(loaded, context, options.sequences, sizes);
  } catch (thrown) {
    await loaded.llama.dispose();
    throw thrown;
  }
}

/** llama.cpp with several sequences, each of which goes on from where its last part ended. */
export class OracleSteps implements AsyncDisposable {
  readonly #sequences: readonly LlamaContextSequence[];

  constructor(
    private readonly loaded: LoadedLlama,
    context: LlamaContext,
    sequences: number,
    /** How many sequences each batch so far had. */
    private readonly sizes: readonly number[],
  ) {
    this.#sequences = Array.from({ length: sequences }, () => context.getSequence());
  }

  /** Computes all parts in one batch: raw logits by token id after the last token of each. */
  async step(parts: readonly OraclePart[]): Promise<Float32Array[]> {
    const before = this.sizes.length;
    const results = await Promise.all(
      parts.map(({ sequence, tokens }) => {
        const own = this.#sequences[sequence];
        ensure(own !== undefined, () => `there is no sequence ${sequence}`);
        return own.controlledEvaluate([
          ...branded(tokens.slice(0, -1)),
          ...branded(tokens.slice(-1)).map(
            (token) => [token, nextLogits] as [typeof token, typeof nextLogits],
          ),
        ]);
      }),
    );
    const [size] = this.sizes.slice(before);
    ensure(size === parts.length, () => `llama.cpp was given ${size} of ${parts.length} parts at once`);
    return results.map((items) => {
      const logits = items.at(-1)?.next.logits;
      ensure(logits !== undefined, () => 'llama.cpp gave no result');
      return logitsOf(logits);
    });
  }

  /** Frees all native memory and threads, so that the process can exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.loaded.llama.dispose();
  }
}
