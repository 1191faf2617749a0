import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensure, silentLogger } from '@butterfly/common';
import { type Ggml, dtype, loadGgml } from '@butterfly/ggml';
import koffi, { type KoffiFunc } from 'koffi';

/** `struct llama_batch` of llama.h. */
const batchStruct = koffi.struct({
  count: 'int32_t',
  tokens: 'void *',
  numbers: 'void *',
  positions: 'void *',
  sequenceCounts: 'void *',
  sequences: 'void *',
  outputs: 'void *',
});

/** `llama_context_type` and `llama_flash_attn_type`. */
const headContext = 1;
const flashAttentionOn = 1;

/** What a row of a head is made of. */
export interface OracleHeadRow {
  readonly token: number;
  /** F32 [hidden] of the position before. */
  readonly hidden: Float32Array;
}

/** libllama's own layer that predicts the token after the next one, and the model before it: one sequence in order. */
export class OracleHead implements Disposable {
  readonly #ggml: Ggml;
  readonly #bound = new Map<string, KoffiFunc<(...args: unknown[]) => unknown>>();
  readonly #library: ReturnType<typeof koffi.load>;
  readonly #model: bigint;
  readonly #trunk: bigint;
  readonly #head: bigint;
  #position = 0;
  #headPosition = 0;

  /** @param sizes numbers of a hidden state, and tokens of the vocabulary. */
  constructor(
    path: string,
    private readonly sizes: { readonly hidden: number; readonly vocabulary: number },
  ) {
    const ggml = (this.#ggml = loadGgml({ log: silentLogger }));
    const file = readdirSync(ggml.directory).find((name) =>
      /^(lib)?llama(\.v[\d.]+)?\.(so|dylib|dll)$/.test(name),
    );
    ensure(file !== undefined, () => `There is no libllama in ${ggml.directory}.`);
    this.#library = koffi.load(join(ggml.directory, file));
    const model = ggml.llama.llama_model_load_from_file(path, {
      ...ggml.llama.llama_model_default_params(),
      gpuLayers: 0,
      loadMtp: true,
    });
    ensure(model !== null, () => `libllama cannot load ${path}.`);
    this.#model = model;
    this.#trunk = this.#context(0);
    this.#head = this.#context(headContext);
    ggml.llama.llama_set_embeddings_nextn(this.#trunk, true, false);
    ggml.llama.llama_set_embeddings_nextn(this.#head, true, true);
  }

  /** Computes the next tokens: F32 [hidden] of each, and the logits behind the last. */
  trunk(tokens: readonly number[]): { readonly hidden: Float32Array[]; readonly logits: Float32Array } {
    this.#decode(this.#trunk, { tokens, numbers: null, position: this.#position });
    this.#position += tokens.length;
    const states = this.#call('llama_get_embeddings_nextn', 'void *', ['void *'], [this.#trunk]) as bigint;
    const all = this.#floats(states, tokens.length * this.sizes.hidden);
    const hidden = tokens.map((_, i) => all.slice(i * this.sizes.hidden, (i + 1) * this.sizes.hidden));
    return { hidden, logits: this.#logits(this.#trunk, tokens.length - 1) };
  }

  /** Computes rows of the head, which overwrite what it has from `position` on: the logits behind the last. */
  head(rows: readonly OracleHeadRow[], position = this.#headPosition): Float32Array {
    const numbers = new Float32Array(rows.length * this.sizes.hidden);
    for (const [i, { hidden }] of rows.entries()) numbers.set(hidden, i * this.sizes.hidden);
    this.#decode(this.#head, { tokens: rows.map(({ token }) => token), numbers, position });
    this.#headPosition = position + rows.length;
    return this.#logits(this.#head, rows.length - 1);
  }

  [Symbol.dispose](): void {
    const { llama } = this.#ggml;
    llama.llama_free(this.#head);
    llama.llama_free(this.#trunk);
    llama.llama_model_free(this.#model);
    this.#library.unload();
  }

  #context(contextType: number): bigint {
    const { llama } = this.#ggml;
    const context = llama.llama_init_from_model(this.#model, {
      ...llama.llama_context_default_params(),
      ...{ contextType, contextTokens: 512, batchTokens: 512, microBatchTokens: 512, sequencesMax: 1 },
      ...{ threads: 1, batchThreads: 1, flashAttention: flashAttentionOn },
      ...{ keyType: dtype.F16, valueType: dtype.F16, isUnmeasured: true },
    });
    ensure(context !== null, () => 'libllama makes no context.');
    return context;
  }

  #decode(
    context: bigint,
    given: {
      readonly tokens: readonly number[];
      readonly numbers: Float32Array | null;
      readonly position: number;
    },
  ): void {
    const { tokens, numbers, position } = given;
    const count = tokens.length;
    const sequence = koffi.alloc('int32_t', 1) as bigint;
    koffi.encode(sequence, 'int32_t', 0);
    const result = this.#call(
      'llama_decode',
      'int32_t',
      ['void *', batchStruct],
      [
        context,
        {
          count,
          tokens: Int32Array.from(tokens),
          numbers,
          positions: Int32Array.from(tokens, (_, i) => position + i),
          sequenceCounts: new Int32Array(count).fill(1),
          sequences: new BigInt64Array(count).fill(sequence),
          outputs: Int8Array.from(tokens, (_, i) => (i === count - 1 ? 1 : 0)),
        },
      ],
    );
    koffi.free(sequence);
    ensure(result === 0, () => `llama_decode gave ${String(result)}.`);
  }

  #logits(context: bigint, row: number): Float32Array {
    const at = this.#call('llama_get_logits_ith', 'void *', ['void *', 'int32_t'], [context, row]) as bigint;
    return this.#floats(at, this.sizes.vocabulary);
  }

  #floats(at: bigint, count: number): Float32Array {
    return new Float32Array(koffi.view(at, 4 * count).slice(0));
  }

  #call(
    name: string,
    result: string,
    parameters: readonly (string | typeof batchStruct)[],
    args: readonly unknown[],
  ): unknown {
    const symbol = name === 'llama_get_embeddings_nextn' ? exportedNextn() : name;
    const known = this.#bound.get(name) ?? this.#library.func(symbol, result, [...parameters]);
    this.#bound.set(name, known);
    return known(...args) as unknown;
  }
}

/** It is no part of the interface in C. */
function exportedNextn(): string {
  return process.platform === 'win32'
    ? '?llama_get_embeddings_nextn@@YAPEAMPEAUllama_context@@@Z'
    : '_Z26llama_get_embeddings_nextnP13llama_context';
}
