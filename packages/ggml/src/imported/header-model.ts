import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import { withNativeErrors, type Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { ImportedGraph } from './imported-graph.js';
import { checkTensorStruct } from './tensor-struct.js';

/** What llama.cpp needs to know to build a model's graphs. */
export interface HeaderModelOptions {
  /** A GGUF header: metadata and tensor table, without data, and without tokens. */
  readonly header: Uint8Array;
  /** Tokens of a sequence; some models compute otherwise beyond their original context. */
  readonly contextTokens: number;
  /** Most rows of one graph. */
  readonly rowsMax: number;
  /** Most sequences of one graph; 1 by default. */
  readonly sequencesMax?: number;
  /** `enum ggml_type` of cached keys and values. */
  readonly cacheType: number;
  /** Whether pooled graphs end with the scores of the model's own head; else with one row of each sequence. */
  readonly isRanking?: boolean;
  /**
   * Of a model with layers that predict the token after the next one (NextN, MTP): `trunk` for graphs of the model itself
   * that compute the last hidden state of every row, `head` for those of its first such layer. By default it is as if it had
   * none.
   */
  readonly part?: 'trunk' | 'head';
}

/** What a graph ends with: the logits of a text, or what becomes of one row, or of the mean of all rows. */
export type GraphEnd = 'logits' | 'pooled';

/** Of `enum llama_pooling_type`. */
const poolingTypes = { last: 3, rank: 4 } as const;

/** `llama_flash_attn_type`. */
const flashAttentionOn = 1;

/** `llama_context_type`. */
const contextTypes = { usual: 0, head: 1 } as const;

/** An empty list: with a GPU in sight llama.cpp builds other graphs. */
let emptyList: unknown;
function noDevices(): unknown {
  if (emptyList === undefined) {
    emptyList = koffi.alloc('void *', 1);
    koffi.encode(emptyList, 'void *', null);
  }
  return emptyList;
}

/** Called for each tensor to set its data; here there is none to set. */
let noData: Pointer | null = null;

/**
 * A model made by llama.cpp from its header alone, without memory for weights, whose graphs can be read
 * (`llama_model_init_from_user` of include/llama.h, `llama_graph_reserve` of src/llama-ext.h). llama.cpp may end the
 * process on metadata that contradicts itself: what is not known to be sound belongs into a process of its own. It takes
 * names and types of weights from the header and their shapes from the metadata: whether those agree is not checked.
 */
export class HeaderModel implements Disposable {
  /** Without those that predict the token after the next one. */
  readonly layers: number;
  /** Tokens that window layers see; 0 without such. */
  readonly windowTokens: number;
  #model: Pointer | null = null;
  #context: Pointer | null = null;
  readonly #lasting = new Map<Pointer, ReturnType<ImportedGraph['get']>>();

  /** @throws ButterflyError MODEL_UNSUPPORTED with llama.cpp's own words, LIBRARY_MISMATCH */
  constructor(
    private readonly ggml: Ggml,
    private readonly options: HeaderModelOptions,
  ) {
    checkTensorStruct(ggml);
    const { base, llama } = ggml;
    const { header, contextTokens, rowsMax, cacheType } = options;
    const params = { noAlloc: true, context: null };
    const metadata = base.gguf_init_from_buffer(header, header.byteLength, params);
    if (metadata === null) throw refusal('has a header that cannot be read', []);
    noData ??= koffi.register(() => undefined, koffi.pointer(koffi.proto('void', ['void *', 'void *'])));
    try {
      const model = withNativeErrors(() =>
        llama.llama_model_init_from_user(metadata, noData ?? 0n, null, {
          ...llama.llama_model_default_params(),
          devices: noDevices(),
          gpuLayers: 0,
          noAlloc: true,
          loadMtp: options.part !== undefined,
        }),
      );
      this.#model = model.result;
      if (this.#model === null) throw refusal('could not be built from its metadata', model.errors);
      const context = withNativeErrors(() =>
        llama.llama_init_from_model(this.#alive(), {
          ...llama.llama_context_default_params(),
          contextType: options.part === 'head' ? contextTypes.head : contextTypes.usual,
          contextTokens,
          batchTokens: rowsMax,
          microBatchTokens: rowsMax,
          sequencesMax: options.sequencesMax ?? 1,
          threads: 1,
          batchThreads: 1,
          flashAttention: flashAttentionOn,
          pooling: options.isRanking ? poolingTypes.rank : poolingTypes.last,
          keyType: cacheType,
          valueType: cacheType,
          isUnmeasured: true,
          isWindowCacheFull: false,
          isCacheUnified: true,
        }),
      );
      this.#context = context.result;
      if (this.#context === null) throw refusal('has no context', context.errors);
      // Not only of the rows whose logits are wanted.
      if (options.part === 'trunk') llama.llama_set_embeddings_nextn(this.#context, true, false);
      this.layers = llama.llama_model_n_layer(this.#alive());
      this.windowTokens = Math.max(0, llama.llama_model_n_swa(this.#alive()));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    } finally {
      base.gguf_free(metadata);
    }
  }

  get contextTokens(): number {
    return this.options.contextTokens;
  }

  /**
   * The graph of the whole model for `rows`, of which `outputs` have logits; void with the next one.
   * @param sequences of as many rows each.
   * @param end `pooled` for the graph by which llama.cpp makes embeddings, which models without a cache need all outputs for.
   * @throws ButterflyError MODEL_UNSUPPORTED where llama.cpp builds none, as for metadata of absurd sizes
   */
  graph(rows: number, outputs: number, sequences = 1, end: GraphEnd = 'logits'): ImportedGraph {
    this.#alive();
    const { rowsMax, sequencesMax = 1 } = this.options;
    ensure(
      rows >= 1 && rows <= rowsMax && outputs >= 1 && outputs <= rows,
      () => `A graph of ${rows} rows with ${outputs} outputs is out of bounds.`,
    );
    ensure(
      sequences >= 1 && sequences <= sequencesMax && rows % sequences === 0,
      () => `A graph of ${rows} rows cannot have ${sequences} sequences.`,
    );
    const { llama } = this.ggml;
    const { result: pointer, errors } = withNativeErrors(() => {
      if (this.#context === null) return null;
      llama.llama_set_embeddings(this.#context, end === 'pooled');
      return llama.llama_graph_reserve(this.#context, rows, sequences, outputs);
    });
    if (pointer === null) throw refusal('has no graph', errors);
    return new ImportedGraph(this.ggml, pointer, this.#lasting);
  }

  [Symbol.dispose](): void {
    if (this.#context !== null) this.ggml.llama.llama_free(this.#context);
    this.#context = null;
    if (this.#model !== null) this.ggml.llama.llama_model_free(this.#model);
    this.#model = null;
  }

  #alive(): Pointer {
    if (this.#model === null) throw new ButterflyError('COMPUTE_INVALID', 'The header model is disposed.');
    return this.#model;
  }
}

/** With what llama.cpp begins its words: `llama_model_load: error loading model: done_getting_tensors: `. */
const namesOfCallers = /^(?:(?:\w+|error loading model): )+/u;

function refusal(what: string, errors: readonly string[]): ButterflyError {
  const words = errors.at(0)?.replace(namesOfCallers, '').replace(/\s+/gu, ' ').slice(0, 300);
  return new ButterflyError(
    'MODEL_UNSUPPORTED',
    `The model ${what}${words ? `: ${words}` : ''}. Use a file that llama.cpp of this release can load.`,
  );
}
