import { ensure } from '@butterfly/common';
import type { CacheType } from '@butterfly/wire';
import type { LlamaContext, LlamaContextSequence, Token } from 'node-llama-cpp';
import { branded, ggmlCacheTypes, loadLlama, type LoadedLlama } from './oracle-library.js';

export interface OracleBatchOptions {
  readonly threads: number;
  /** How many texts are generated at once; further ones wait for their turn. */
  readonly sequences: number;
  /** Of one sequence, prompt and output together. llama.cpp rounds all of them together up to a multiple of 256. */
  readonly contextTokens: number;
  /** Rows that llama.cpp computes at once; 512 by default. */
  readonly batchTokens?: number;
  /**
   * `together`, the default: all texts ask for their next token at once, so that each step has all of them and a new
   * text begins with the next step. `free`: each text asks as soon as its last token is sampled, as simple programs do;
   * the library then begins each batch before the last of them asked, so that its batches are never full, and it lets no
   * new text begin while others run. Steps of very few rows may still be faster apart.
   */
  readonly pace?: 'together' | 'free';
  /** Of keys and of values; F16 by default. */
  readonly cacheType?: CacheType;
}

/**
 * Loads a model (given its first file) once, for batches of any shape.
 * @throws whatever node-llama-cpp throws for a file that llama.cpp refuses
 */
export async function openOracleBatches(path: string): Promise<OracleBatches> {
  return new OracleBatches(await loadLlama(path));
}

/** A model in llama.cpp, from which contexts of several parallel sequences are made. */
export class OracleBatches implements AsyncDisposable {
  constructor(private readonly loaded: LoadedLlama) {}

  /** A context of its own, with flash attention. */
  async open(options: OracleBatchOptions): Promise<OracleBatch> {
    const cacheType = ggmlCacheTypes[options.cacheType ?? 'f16'];
    const context = await this.loaded.model.createContext({
      sequences: options.sequences,
      contextSize: options.contextTokens,
      batchSize: options.batchTokens ?? 512,
      flashAttention: true,
      threads: { ideal: options.threads, min: options.threads },
      experimentalKvCacheKeyType: cacheType,
      experimentalKvCacheValueType: cacheType,
      ignoreMemorySafetyChecks: true,
      failedCreationRemedy: false,
    });
    return new OracleBatch(context, options);
  }

  /** Frees all native memory and threads, so that the process can exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.loaded.llama.dispose();
  }
}

/** A text on its way. */
interface Job {
  readonly prompt: readonly number[];
  readonly count: number;
  readonly onToken: (token: number) => void;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

interface RunningJob extends Job {
  readonly sequence: LlamaContextSequence;
  readonly tokens: AsyncGenerator<Token, void>;
  made: number;
}

/** llama.cpp's continuous batching, through node-llama-cpp: texts that are generated at once share its steps. */
export class OracleBatch implements AsyncDisposable {
  readonly #free: LlamaContextSequence[];
  readonly #waiting: Job[] = [];
  #running: RunningJob[] = [];
  #isStepping = false;

  constructor(
    private readonly context: LlamaContext,
    private readonly options: OracleBatchOptions,
  ) {
    this.#free = Array.from({ length: options.sequences }, () => context.getSequence());
  }

  /** Decodes `count` tokens greedily, past those that end the text, and tells each as it is there. */
  async generate(prompt: readonly number[], count: number, onToken: (token: number) => void): Promise<void> {
    const { contextTokens } = this.options;
    // A full context would be shifted silently, and the work would no longer compare.
    ensure(
      prompt.length + count <= contextTokens,
      () => `${prompt.length + count} tokens do not fit a context of ${contextTokens}`,
    );
    return new Promise((resolve, reject) => {
      this.#waiting.push({ prompt, count, onToken, resolve, reject });
      if (this.options.pace === 'free') void this.#runFree();
      else if (!this.#isStepping) void this.#steps();
    });
  }

  /** Frees the context; the model stays loaded. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.context.dispose();
  }

  async #steps(): Promise<void> {
    this.#isStepping = true;
    while (this.#waiting.length > 0 || this.#running.length > 0) {
      while (await this.#admit());
      await Promise.all(this.#running.map((job) => this.#advance(job)));
    }
    this.#isStepping = false;
  }

  async #runFree(): Promise<void> {
    const job = await this.#admit();
    while (job && this.#running.includes(job)) await this.#advance(job);
    if (job && this.#waiting.length > 0) void this.#runFree();
  }

  /** Begins the text that waited longest, if a sequence is free. */
  async #admit(): Promise<RunningJob | null> {
    const [job] = this.#waiting;
    const sequence = job && this.#free.pop();
    if (!sequence) return null;
    this.#waiting.shift();
    await sequence.clearHistory();
    const tokens = sequence.evaluate(branded(job.prompt), { temperature: 0, yieldEogToken: true });
    const running: RunningJob = { ...job, sequence, tokens, made: 0 };
    this.#running.push(running);
    return running;
  }

  /** One more token of a text. */
  async #advance(job: RunningJob): Promise<void> {
    try {
      const { value: token } = await job.tokens.next();
      ensure(token !== undefined, () => 'llama.cpp ended a text by itself');
      job.onToken(token);
      if (++job.made < job.count) return;
      await job.tokens.return();
      this.#leave(job);
      job.resolve();
    } catch (thrown) {
      this.#leave(job);
      job.reject(thrown);
    }
  }

  #leave(job: RunningJob): void {
    this.#running = this.#running.filter((other) => other !== job);
    this.#free.push(job.sequence);
  }
}
