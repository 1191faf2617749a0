import koffi from 'koffi';
import { withNativeErrors, type Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { TensorReader, tensorStruct } from './tensor-struct.js';

/** A weight that llama.cpp asks for. */
export interface WantedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * Which weights llama.cpp wants of a model with these metadata, in its order: for files that are made up. It makes memory
 * for them, and ends the process on metadata that contradict themselves.
 * @param header a GGUF header; tensors in it are those that are optional and wanted.
 * @param loadsHeads whether it wants those of layers too that predict the token after the next one
 * @returns none, with llama.cpp's words, where it builds no such model
 */
export function wantedTensors(
  ggml: Ggml,
  header: Uint8Array,
  loadsHeads = false,
): { readonly tensors: readonly WantedTensor[]; readonly errors: readonly string[] } {
  const { base, llama } = ggml;
  const metadata = base.gguf_init_from_buffer(header, header.byteLength, { noAlloc: true, context: null });
  if (metadata === null) return { tensors: [], errors: ['the header cannot be read'] };
  const asked = new Map<string, WantedTensor>();
  const callback = koffi.register(
    (pointer: Pointer) => {
      const { name, shape } = new TensorReader(ggml, koffi.view(pointer, tensorStruct.bytes), pointer).read(
        pointer,
      );
      asked.set(name, { name, shape });
    },
    koffi.pointer(koffi.proto('void', ['void *', 'void *'])),
  );
  try {
    const { result, errors } = withNativeErrors(() =>
      llama.llama_model_init_from_user(metadata, callback, null, {
        ...llama.llama_model_default_params(),
        gpuLayers: 0,
        loadMtp: loadsHeads,
      }),
    );
    if (result !== null) llama.llama_model_free(result);
    return { tensors: result === null ? [] : [...asked.values()], errors };
  } finally {
    koffi.unregister(callback);
    base.gguf_free(metadata);
  }
}
