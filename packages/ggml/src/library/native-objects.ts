/** What native code makes for us and we have to free: the functions that make it, and those that free it. */
export const nativeLifetimes = {
  contexts: { makers: ['ggml_init'], freers: ['ggml_free'] },
  headers: { makers: ['gguf_init_from_buffer'], freers: ['gguf_free'] },
  buffers: { makers: ['ggml_backend_buft_alloc_buffer'], freers: ['ggml_backend_buffer_free'] },
  allocators: { makers: ['ggml_gallocr_new'], freers: ['ggml_gallocr_free'] },
  schedulers: { makers: ['ggml_backend_sched_new'], freers: ['ggml_backend_sched_free'] },
  backends: { makers: ['ggml_backend_dev_init'], freers: ['ggml_backend_free'] },
  threadPools: { makers: ['ggml_threadpool_new'], freers: ['ggml_threadpool_free'] },
  /** Those of vocabularies too, which are models without weights. */
  models: {
    makers: ['llama_model_load_from_file', 'llama_model_init_from_user'],
    freers: ['llama_model_free'],
  },
  modelContexts: { makers: ['llama_init_from_model'], freers: ['llama_free'] },
} as const;

export type NativeKind = keyof typeof nativeLifetimes;

const kinds = Object.keys(nativeLifetimes) as NativeKind[];
const counts = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Record<NativeKind, number>;

/** How many native objects of each kind live in this process: what was made, less what was freed. */
export function nativeObjects(): Readonly<Record<NativeKind, number>> {
  return { ...counts };
}

type Native = (...args: readonly unknown[]) => unknown;

/** The bound function of this name, which counts where it makes or frees an object. Those that do are never called aside. */
export function counted(name: string, call: Native): Native {
  const maker = kinds.find((kind) => (nativeLifetimes[kind].makers as readonly string[]).includes(name));
  if (maker !== undefined)
    return (...args) => {
      const made = call(...args);
      if (made !== null) counts[maker]++;
      return made;
    };
  const freed = kinds.find((kind) => (nativeLifetimes[kind].freers as readonly string[]).includes(name));
  if (freed === undefined) return call;
  return (...args) => {
    call(...args);
    counts[freed]--;
  };
}
