import koffi, { type TypeObject } from 'koffi';

/** An address in native memory. */
export type Pointer = bigint;
export type NullablePointer = Pointer | null;

/** A bound native function; `async` runs it on a thread of libuv's pool and calls back on the event loop. */
export interface NativeFunction<A extends readonly unknown[], R> {
  (...args: A): R;
  readonly async: (...args: [...A, (error: Error | null, result: R) => void]) => void;
}

interface Signature<A extends readonly unknown[], R> {
  readonly result: string | TypeObject;
  readonly parameters: readonly (string | TypeObject)[];
  /** What the symbol is called where it is not called as here: C++ compilers write types into names. */
  readonly mangled?: { readonly itanium: string; readonly microsoft: string };
  /** Never present: carries the types. */
  readonly types?: (...args: A) => R;
}

function signature<A extends readonly unknown[], R>(
  result: string | TypeObject,
  ...parameters: readonly (string | TypeObject)[]
): Signature<A, R> {
  return { result, parameters };
}

const P = 'void *';
type Ptr = Pointer;
type In = NullablePointer | ArrayBufferView;

/** `struct llama_model_params` of include/llama.h. */
const modelParams = koffi.struct({
  devices: P,
  tensorBuftOverrides: P,
  gpuLayers: 'int32_t',
  splitMode: 'int32_t',
  loadMode: 'int32_t',
  lazyMode: 'int32_t',
  mainGpu: 'int32_t',
  tensorSplit: P,
  progressCallback: P,
  progressUserData: P,
  kvOverrides: P,
  vocabOnly: 'bool',
  checkTensors: 'bool',
  useExtraBufts: 'bool',
  noHost: 'bool',
  noAlloc: 'bool',
  loadMtp: 'bool',
});
export type ModelParams = Record<string, unknown> & { vocabOnly: boolean };

/** `struct llama_context_params` of include/llama.h. */
const contextParams = koffi.struct({
  contextTokens: 'uint32_t',
  batchTokens: 'uint32_t',
  microBatchTokens: 'uint32_t',
  sequencesMax: 'uint32_t',
  stateSnapshots: 'uint32_t',
  outputsMax: 'uint32_t',
  outputsOfSequenceMax: 'uint32_t',
  threads: 'int32_t',
  batchThreads: 'int32_t',
  contextType: 'int32_t',
  ropeScaling: 'int32_t',
  pooling: 'int32_t',
  attention: 'int32_t',
  flashAttention: 'int32_t',
  ropeBase: 'float',
  ropeScale: 'float',
  yarnExtrapolation: 'float',
  yarnAttention: 'float',
  yarnBetaFast: 'float',
  yarnBetaSlow: 'float',
  yarnOriginalContext: 'uint32_t',
  defragThreshold: 'float',
  evalCallback: P,
  evalUserData: P,
  keyType: 'int32_t',
  valueType: 'int32_t',
  abortCallback: P,
  abortUserData: P,
  embeddings: 'bool',
  offloadsCache: 'bool',
  isUnmeasured: 'bool',
  offloadsOperations: 'bool',
  isWindowCacheFull: 'bool',
  isCacheUnified: 'bool',
  samplers: P,
  samplersCount: 'size_t',
  otherContext: P,
});
type ContextParams = Record<string, unknown>;

/** `struct gguf_init_params` of gguf.h. */
const ggufParams = koffi.struct({ noAlloc: 'bool', context: P });
/** `struct ggml_init_params` of ggml.h. */
const initParams = koffi.struct({ memSize: 'size_t', memBuffer: P, noAlloc: 'bool' });

const unary = signature<[Ptr, Ptr], Ptr>(P, P, P);
const binary = signature<[Ptr, Ptr, Ptr], Ptr>(P, P, P, P);
const ternary = signature<[Ptr, Ptr, Ptr, Ptr], Ptr>(P, P, P, P, P);
const rope = signature<
  [Ptr, Ptr, Ptr, NullablePointer, number, number, number, number, number, number, number, number, number],
  Ptr
>(P, P, P, P, P, 'int', 'int', 'int', 'float', 'float', 'float', 'float', 'float', 'float');

/** What is called in libggml-base; signatures as in ggml.h, ggml-alloc.h and ggml-backend.h. */
export const baseSymbols = {
  ggml_version: signature<[], string>('const char *'),
  ggml_log_set: signature<[NullablePointer, null], undefined>('void', P, P),
  ggml_type_size: signature<[number], number>('size_t', 'int'),
  ggml_blck_size: signature<[number], number>('int64_t', 'int'),
  ggml_type_name: signature<[number], string | null>('const char *', 'int'),
  ggml_tensor_overhead: signature<[], number>('size_t'),
  ggml_graph_overhead_custom: signature<[number, boolean], number>('size_t', 'size_t', 'bool'),
  ggml_init: signature<[{ memSize: number; memBuffer: Ptr; noAlloc: boolean }], NullablePointer>(
    P,
    initParams,
  ),
  ggml_free: signature<[Ptr], undefined>('void', P),
  ggml_new_tensor_4d: signature<[Ptr, number, number, number, number, number], Ptr>(
    P,
    P,
    'int',
    'int64_t',
    'int64_t',
    'int64_t',
    'int64_t',
  ),
  ggml_set_output: signature<[Ptr], undefined>('void', P),
  ggml_set_input: signature<[Ptr], undefined>('void', P),
  ggml_get_data: signature<[Ptr], NullablePointer>(P, P),
  ggml_new_graph_custom: signature<[Ptr, number, boolean], Ptr>(P, P, 'size_t', 'bool'),
  ggml_build_forward_expand: signature<[Ptr, Ptr], undefined>('void', P, P),
  ggml_graph_n_nodes: signature<[Ptr], number>('int', P),
  ggml_graph_node: signature<[Ptr, number], Ptr>(P, P, 'int'),
  ggml_op_name: signature<[number], string>('const char *', 'int'),
  ggml_op_desc: signature<[Ptr], string>('const char *', P),
  ggml_set_name: signature<[Ptr, string], Ptr>(P, P, 'const char *'),
  gguf_init_from_buffer: signature<
    [Uint8Array, number, { noAlloc: boolean; context: null }],
    NullablePointer
  >(P, P, 'size_t', ggufParams),
  gguf_free: signature<[Ptr], undefined>('void', P),
  ggml_add: binary,
  ggml_mul: binary,
  ggml_mul_mat: binary,
  ggml_mul_mat_id: ternary,
  ggml_get_rows: binary,
  ggml_cpy: binary,
  ggml_set_rows: signature<[Ptr, Ptr, Ptr, Ptr], Ptr>(P, P, P, P, P),
  ggml_swiglu_split: binary,
  ggml_rms_norm: signature<[Ptr, Ptr, number], Ptr>(P, P, P, 'float'),
  ggml_cont: unary,
  ggml_cont_2d: signature<[Ptr, Ptr, number, number], Ptr>(P, P, P, 'int64_t', 'int64_t'),
  ggml_concat: signature<[Ptr, Ptr, Ptr, number], Ptr>(P, P, P, P, 'int'),
  ggml_reshape_4d: signature<[Ptr, Ptr, number, number, number, number], Ptr>(
    P,
    P,
    P,
    'int64_t',
    'int64_t',
    'int64_t',
    'int64_t',
  ),
  ggml_view_4d: signature<[Ptr, Ptr, number, number, number, number, number, number, number, number], Ptr>(
    P,
    P,
    P,
    'int64_t',
    'int64_t',
    'int64_t',
    'int64_t',
    'size_t',
    'size_t',
    'size_t',
    'size_t',
  ),
  ggml_permute: signature<[Ptr, Ptr, number, number, number, number], Ptr>(
    P,
    P,
    P,
    'int',
    'int',
    'int',
    'int',
  ),
  ggml_rope_ext: rope,
  ggml_flash_attn_ext: signature<[Ptr, Ptr, Ptr, Ptr, NullablePointer, number, number, number], Ptr>(
    P,
    P,
    P,
    P,
    P,
    P,
    'float',
    'float',
    'float',
  ),
  ggml_gallocr_new: signature<[Ptr], NullablePointer>(P, P),
  ggml_gallocr_free: signature<[Ptr], undefined>('void', P),
  ggml_gallocr_alloc_graph: signature<[Ptr, Ptr], boolean>('bool', P, P),
  ggml_gallocr_get_buffer_size: signature<[Ptr, number], number>('size_t', P, 'int'),
  ggml_backend_tensor_alloc: signature<[Ptr, Ptr, Ptr], number>('int', P, P, P),
  ggml_backend_tensor_set: signature<[Ptr, In, number, number], undefined>('void', P, P, 'size_t', 'size_t'),
  ggml_backend_tensor_get: signature<[Ptr, Uint8Array, number, number], undefined>(
    'void',
    P,
    P,
    'size_t',
    'size_t',
  ),
  ggml_backend_tensor_memset: signature<[Ptr, number, number, number], undefined>(
    'void',
    P,
    'uint8_t',
    'size_t',
    'size_t',
  ),
  ggml_backend_tensor_copy: signature<[Ptr, Ptr], undefined>('void', P, P),
  ggml_backend_view_init: signature<[Ptr], number>('int', P),
  ggml_backend_buft_is_host: signature<[Ptr], boolean>('bool', P),
  ggml_backend_buft_get_max_size: signature<[Ptr], number | bigint>('size_t', P),
  ggml_backend_dev_name: signature<[Ptr], string>('const char *', P),
  ggml_backend_dev_description: signature<[Ptr], string>('const char *', P),
  ggml_backend_dev_type: signature<[Ptr], number>('int', P),
  ggml_backend_dev_memory: signature<[Ptr, BigUint64Array, BigUint64Array], undefined>('void', P, P, P),
  ggml_flash_attn_ext_set_prec: signature<[Ptr, number], undefined>('void', P, 'int'),
  ggml_backend_buft_name: signature<[Ptr], string>('const char *', P),
  ggml_backend_buft_alloc_buffer: signature<[Ptr, number], NullablePointer>(P, P, 'size_t'),
  ggml_backend_buft_get_alignment: signature<[Ptr], number>('size_t', P),
  ggml_backend_buft_get_alloc_size: signature<[Ptr, Ptr], number>('size_t', P, P),
  ggml_backend_buffer_get_base: signature<[Ptr], Ptr>(P, P),
  ggml_backend_buffer_free: signature<[Ptr], undefined>('void', P),
  ggml_backend_buffer_clear: signature<[Ptr, number], undefined>('void', P, 'uint8_t'),
  ggml_backend_buffer_set_usage: signature<[Ptr, number], undefined>('void', P, 'int'),
  ggml_backend_free: signature<[Ptr], undefined>('void', P),
  ggml_backend_graph_compute: signature<[Ptr, Ptr], number>('int', P, P),
  ggml_backend_sched_new: signature<
    [BigUint64Array, null, number, number, boolean, boolean],
    NullablePointer
  >(P, P, P, 'int', 'size_t', 'bool', 'bool'),
  ggml_backend_sched_free: signature<[Ptr], undefined>('void', P),
  ggml_backend_sched_reset: signature<[Ptr], undefined>('void', P),
  ggml_backend_sched_set_tensor_backend: signature<[Ptr, Ptr, Ptr], undefined>('void', P, P, P),
  ggml_backend_sched_alloc_graph: signature<[Ptr, Ptr], boolean>('bool', P, P),
  ggml_backend_sched_graph_compute: signature<[Ptr, Ptr], number>('int', P, P),
  ggml_backend_sched_get_buffer_size: signature<[Ptr, Ptr], number>('size_t', P, P),
  ggml_backend_sched_get_n_splits: signature<[Ptr], number>('int', P),
  ggml_backend_dev_init: signature<[Ptr, null], NullablePointer>(P, P, 'const char *'),
  ggml_backend_dev_buffer_type: signature<[Ptr], Ptr>(P, P),
  ggml_backend_dev_backend_reg: signature<[Ptr], Ptr>(P, P),
  ggml_backend_dev_supports_op: signature<[Ptr, Ptr], boolean>('bool', P, P),
  ggml_backend_reg_get_proc_address: signature<[Ptr, string], NullablePointer>(P, P, 'const char *'),
  ggml_threadpool_params_init: signature<[Uint8Array, number], undefined>('void', P, 'int'),
  ggml_quantize_requires_imatrix: signature<[number], boolean>('bool', 'int'),
  ggml_set_param: signature<[Ptr], undefined>('void', P),
  ggml_silu: unary,
  ggml_silu_back: binary,
  ggml_out_prod: binary,
  ggml_repeat_back: binary,
  ggml_rms_norm_back: signature<[Ptr, Ptr, Ptr, number], Ptr>(P, P, P, P, 'float'),
  ggml_get_rows_back: ternary,
  ggml_soft_max_ext: signature<[Ptr, Ptr, NullablePointer, number, number], Ptr>(
    P,
    P,
    P,
    P,
    'float',
    'float',
  ),
  ggml_soft_max_ext_back: signature<[Ptr, Ptr, Ptr, number, number], Ptr>(P, P, P, P, 'float', 'float'),
  ggml_rope_ext_back: rope,
  ggml_cross_entropy_loss: binary,
  ggml_cross_entropy_loss_back: ternary,
  ggml_opt_step_adamw: signature<[Ptr, Ptr, Ptr, Ptr, Ptr, Ptr], Ptr>(P, P, P, P, P, P, P),
  ggml_quantize_chunk: signature<[number, Float32Array, Uint8Array, number, number, number, null], number>(
    'size_t',
    'int',
    P,
    P,
    'int64_t',
    'int64_t',
    'int64_t',
    P,
  ),
};

/** What is called in libggml. */
export const ggmlSymbols = {
  ggml_backend_load_all_from_path: signature<[string], undefined>('void', 'const char *'),
  ggml_backend_dev_by_type: signature<[number], NullablePointer>(P, 'int'),
  ggml_backend_load: signature<[string], NullablePointer>(P, 'const char *'),
  ggml_backend_dev_count: signature<[], number>('size_t'),
  ggml_backend_dev_get: signature<[number], Ptr>(P, 'size_t'),
};

/** What is called in libllama: its vocabulary, its samplers, and the graphs that it builds. */
export const llamaSymbols = {
  llama_version: signature<[], string>('const char *'),
  llama_backend_init: signature<[], undefined>('void'),
  llama_log_set: signature<[NullablePointer, null], undefined>('void', P, P),
  llama_model_default_params: signature<[], ModelParams>(modelParams),
  llama_model_load_from_file: signature<[string, ModelParams], NullablePointer>(
    P,
    'const char *',
    modelParams,
  ),
  llama_model_free: signature<[Ptr], undefined>('void', P),
  llama_model_init_from_user: signature<[Ptr, Ptr, null, ModelParams], NullablePointer>(
    P,
    P,
    P,
    P,
    modelParams,
  ),
  llama_model_n_layer: signature<[Ptr], number>('int32_t', P),
  llama_model_n_swa: signature<[Ptr], number>('int32_t', P),
  llama_context_default_params: signature<[], ContextParams>(contextParams),
  llama_init_from_model: signature<[Ptr, ContextParams], NullablePointer>(P, P, contextParams),
  llama_free: signature<[Ptr], undefined>('void', P),
  llama_set_embeddings: signature<[Ptr, boolean], undefined>('void', P, 'bool'),
  // Of src/llama-ext.h: exported, but no part of the interface in C. dlsym of macOS adds the further underscore by itself.
  llama_graph_reserve: {
    ...signature<[Ptr, number, number, number], NullablePointer>(P, P, 'uint32_t', 'uint32_t', 'uint32_t'),
    mangled: {
      itanium: '_Z19llama_graph_reserveP13llama_contextjjj',
      microsoft: '?llama_graph_reserve@@YAPEAUggml_cgraph@@PEAUllama_context@@III@Z',
    },
  },
  llama_set_embeddings_nextn: {
    ...signature<[Ptr, boolean, boolean], undefined>('void', P, 'bool', 'bool'),
    mangled: {
      itanium: '_Z26llama_set_embeddings_nextnP13llama_contextbb',
      microsoft: '?llama_set_embeddings_nextn@@YAXPEAUllama_context@@_N1@Z',
    },
  },
  llama_model_get_vocab: signature<[Ptr], Ptr>(P, P),
  llama_vocab_n_tokens: signature<[Ptr], number>('int32_t', P),
  llama_vocab_get_text: signature<[Ptr, number], string | null>('const char *', P, 'int32_t'),
  llama_vocab_get_attr: signature<[Ptr, number], number>('int', P, 'int32_t'),
  llama_vocab_is_eog: signature<[Ptr, number], boolean>('bool', P, 'int32_t'),
  llama_vocab_bos: signature<[Ptr], number>('int32_t', P),
  llama_vocab_eos: signature<[Ptr], number>('int32_t', P),
  llama_vocab_sep: signature<[Ptr], number>('int32_t', P),
  llama_vocab_fim_pre: signature<[Ptr], number>('int32_t', P),
  llama_vocab_fim_suf: signature<[Ptr], number>('int32_t', P),
  llama_vocab_fim_mid: signature<[Ptr], number>('int32_t', P),
  llama_vocab_fim_rep: signature<[Ptr], number>('int32_t', P),
  llama_vocab_fim_sep: signature<[Ptr], number>('int32_t', P),
  llama_vocab_get_add_bos: signature<[Ptr], boolean>('bool', P),
  llama_vocab_get_add_sep: signature<[Ptr], boolean>('bool', P),
  llama_vocab_get_add_eos: signature<[Ptr], boolean>('bool', P),
  llama_vocab_type: signature<[Ptr], number>('int', P),
  llama_model_meta_val_str: signature<[Ptr, string, Uint8Array, number], number>(
    'int32_t',
    P,
    'const char *',
    P,
    'size_t',
  ),
  llama_tokenize: signature<[Ptr, Uint8Array, number, Int32Array, number, boolean, boolean], number>(
    'int32_t',
    P,
    P,
    'int32_t',
    P,
    'int32_t',
    'bool',
    'bool',
  ),
  llama_token_to_piece: signature<[Ptr, number, Uint8Array, number, number, boolean], number>(
    'int32_t',
    P,
    'int32_t',
    P,
    'int32_t',
    'int32_t',
    'bool',
  ),
};

/** What the CPU backend hands out through `ggml_backend_reg_get_proc_address`. */
export const cpuSymbols = {
  ggml_backend_set_n_threads: signature<[Ptr, number], undefined>('void', P, 'int'),
  ggml_backend_dev_get_extra_bufts: signature<[Ptr], NullablePointer>(P, P),
  ggml_backend_get_features: signature<[Ptr], NullablePointer>(P, P),
  ggml_backend_cpu_set_use_ref: signature<[Ptr, boolean], undefined>('void', P, 'bool'),
  ggml_threadpool_new: signature<[Uint8Array], NullablePointer>(P, P),
  ggml_threadpool_free: signature<[Ptr], undefined>('void', P),
  ggml_backend_cpu_set_threadpool: signature<[Ptr, NullablePointer], undefined>('void', P, P),
};

export type SymbolTable = Record<string, Signature<never, unknown>>;
export type Bound<T> = {
  readonly [K in keyof T]: T[K] extends Signature<infer A, infer R> ? NativeFunction<A, R> : never;
};
