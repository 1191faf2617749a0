import { ensure } from '@butterfly/common';
import type { Llama, LlamaEmbeddingContext } from 'node-llama-cpp';
import { branded, loadLlama } from './oracle-library.js';

/**
 * Loads a model (given its file) into llama.cpp, to make embeddings as its file says that they are pooled.
 * @throws whatever node-llama-cpp throws for a file that llama.cpp refuses
 */
export async function openEmbeddingOracle(
  path: string,
  options: { readonly threads: number; readonly contextTokens: number },
): Promise<EmbeddingOracle> {
  const { llama, model } = await loadLlama(path);
  // The library has no such option for embeddings, and leaves it off for some architectures if only the model has it.
  const createContext = model.createContext.bind(model);
  model.createContext = (asked) => createContext({ ...asked, flashAttention: true });
  try {
    const context = await model.createEmbeddingContext({
      contextSize: options.contextTokens,
      batchSize: options.contextTokens,
      threads: options.threads,
      ignoreMemorySafetyChecks: true,
    });
    return new EmbeddingOracle(llama, context);
  } catch (thrown) {
    await llama.dispose();
    throw thrown;
  }
}

/** llama.cpp's embeddings, of one text at a time. */
export class EmbeddingOracle implements AsyncDisposable {
  constructor(
    private readonly llama: Llama,
    private readonly context: LlamaEmbeddingContext,
  ) {}

  /** @param tokens of a whole text, with those that the vocabulary puts before and behind it, which the library would add. */
  async embedding(tokens: readonly number[]): Promise<Float32Array> {
    const length = this.context.calculateInputLength(branded(tokens));
    ensure(length === tokens.length, () => `the library makes ${length} tokens of ${tokens.length}`);
    const { vector } = await this.context.getEmbeddingFor(branded(tokens));
    return Float32Array.from(vector);
  }

  /** Frees all native memory and threads, so that the process can exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.llama.dispose();
  }
}
