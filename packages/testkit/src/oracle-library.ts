import type { CacheType } from '@butterfly/wire';
import type { Llama, LlamaModel, Token } from 'node-llama-cpp';

/** The names that node-llama-cpp gives to types of cached keys and values. */
export const ggmlCacheTypes = { f16: 'F16', bf16: 'BF16', q8_0: 'Q8_0' } as const satisfies Record<
  CacheType,
  string
>;

/** llama.cpp with one model in it; disposing of `llama` frees both. */
export interface LoadedLlama {
  readonly llama: Llama;
  readonly model: LlamaModel;
}

/**
 * Loads a model (given its first file) into llama.cpp, on the CPU.
 * @throws whatever node-llama-cpp throws for a file that llama.cpp refuses
 */
export async function loadLlama(path: string): Promise<LoadedLlama> {
  // Loaded here, since few users of the test kit need it and it takes its time.
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    progressLogs: false,
    logLevel: LlamaLogLevel.disabled,
    // No limit: each context takes exactly the threads that it asks for.
    maxThreads: 0,
  });
  try {
    return { llama, model: await llama.loadModel({ modelPath: path, ignoreMemorySafetyChecks: true }) };
  } catch (thrown) {
    await llama.dispose();
    throw thrown;
  }
}

/** node-llama-cpp marks token ids with a type of its own. */
export function branded(tokens: readonly number[]): Token[] {
  return tokens as Token[];
}
