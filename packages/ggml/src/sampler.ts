import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import type { CpuBackend } from './backend.js';
import type { NativeBuffer } from './buffer.js';
import type { Ggml } from './library.js';
import type { Pointer } from './symbols.js';

/** What a chain of libllama's samplers applies, in this order. A field at its neutral value adds no sampler. */
export interface ChainParams {
  readonly penalties: {
    readonly repeat: number;
    readonly frequency: number;
    readonly presence: number;
  } | null;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly temperature: number;
}

/** A chain of libllama's samplers without a final draw. */
export class SamplerChain implements Disposable {
  #pointer: Pointer | null;

  constructor(
    private readonly ggml: Ggml,
    params: ChainParams,
    vocabularySize: number,
    recentTokensMax: number,
  ) {
    const { llama } = ggml;
    const chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params());
    if (chain === null) throw new ButterflyError('COMPUTE_FAILED', 'A sampler chain could not be made.');
    this.#pointer = chain;
    const add = (sampler: Pointer): void => llama.llama_sampler_chain_add(chain, sampler);
    if (params.penalties) {
      const { repeat, frequency, presence } = params.penalties;
      add(llama.llama_sampler_init_penalties(vocabularySize, recentTokensMax, repeat, frequency, presence));
    }
    if (params.topK > 0) add(llama.llama_sampler_init_top_k(params.topK));
    if (params.topP < 1) add(llama.llama_sampler_init_top_p(params.topP, 1));
    if (params.minP > 0) add(llama.llama_sampler_init_min_p(params.minP, 1));
    add(llama.llama_sampler_init_temp(params.temperature));
  }

  /** Narrows and scales the candidates, given the last tokens of the sequence. */
  apply(candidates: Candidates, recentTokens: Int32Array): void {
    const { llama } = this.ggml;
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_INVALID', 'The sampler chain is disposed.');
    llama.llama_sampler_reset(this.#pointer);
    for (const token of recentTokens) llama.llama_sampler_accept(this.#pointer, token);
    llama.llama_sampler_apply(this.#pointer, candidates.pointer);
  }

  [Symbol.dispose](): void {
    if (this.#pointer !== null) this.ggml.llama.llama_sampler_free(this.#pointer);
    this.#pointer = null;
  }
}

/** Bytes of `llama_token_data` {id, logit, p} and of `llama_token_data_array` {data, size, selected, sorted}. */
const tokenDataBytes = 12;
const headerBytes = 32;

/** The candidates for one token in native memory, laid out as `llama_token_data_array` of llama.h. */
export class Candidates implements Disposable {
  readonly #buffer: NativeBuffer;
  readonly #header: BigInt64Array;
  readonly #ids: Int32Array;
  readonly #logits: Float32Array;

  constructor(
    backend: CpuBackend,
    readonly vocabularySize: number,
  ) {
    this.#buffer = backend.allocate(headerBytes + vocabularySize * tokenDataBytes);
    this.#header = new BigInt64Array(this.#buffer.view(0, headerBytes).buffer);
    const data = this.#buffer.view(headerBytes, vocabularySize * tokenDataBytes).buffer;
    this.#ids = new Int32Array(data);
    this.#logits = new Float32Array(data);
  }

  get pointer(): Pointer {
    return this.#buffer.address;
  }

  /** How many candidates are left. */
  get count(): number {
    return Number(this.#header[1]);
  }

  /** Starts anew with all tokens of the vocabulary. */
  fill(logits: Float32Array): void {
    const { address } = this.#buffer;
    const size = this.vocabularySize;
    ensure(logits.length === size, () => `${logits.length} logits do not match the vocabulary of ${size}.`);
    const ids = this.#ids;
    const values = this.#logits;
    for (let token = 0, at = 0; token < size; token++, at += 3) {
      ids[at] = token;
      values[at + 1] = logits[token] ?? 0;
    }
    this.#header[0] = address + BigInt(headerBytes);
    this.#header[1] = BigInt(size);
    this.#header[2] = -1n;
    this.#header[3] = 0n;
  }

  /**
   * The token at which the cumulative softmax of what is left passes `fraction` of 1.
   * @param fraction in [0, 1).
   */
  draw(fraction: number): number {
    const { ids, logits, count } = this.#current();
    let largest = -Infinity;
    for (let i = 0; i < count; i++) largest = Math.max(largest, logits[i * 3 + 1] ?? -Infinity);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += Math.exp((logits[i * 3 + 1] ?? -Infinity) - largest);
    let left = fraction * sum;
    let token = ids[0] ?? 0;
    for (let i = 0; i < count && left >= 0; i++) {
      const weight = Math.exp((logits[i * 3 + 1] ?? -Infinity) - largest);
      // Rounding may leave a rest behind the last token that can be drawn at all.
      if (weight > 0) token = ids[i * 3] ?? 0;
      left -= weight;
    }
    return token;
  }

  [Symbol.dispose](): void {
    this.#buffer[Symbol.dispose]();
  }

  /** Samplers may point `data` into the middle of the array, or elsewhere. */
  #current(): { ids: Int32Array; logits: Float32Array; count: number } {
    const own = this.#buffer.address + BigInt(headerBytes);
    const count = this.count;
    ensure(count >= 1 && count <= this.vocabularySize, () => `A sampler left ${count} candidates.`);
    if (this.#header[0] === own) return { ids: this.#ids, logits: this.#logits, count };
    const data = koffi.view(this.#header[0] ?? own, count * tokenDataBytes);
    return { ids: new Int32Array(data), logits: new Float32Array(data), count };
  }
}
