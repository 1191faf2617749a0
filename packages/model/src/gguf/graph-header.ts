import type { GgufHeader } from './header.js';
import type { GgufTensor } from './gguf-file.js';

/** `enum gguf_type` of gguf.h. */
const types = { u32: 4, string: 8 } as const;
const alignment = 32;

/** Keys that decide how a model computes and do not begin with its architecture (llama-arch.cpp, LLM_KV_NAMES). */
const commonKey = /^xielu\.|^tokenizer\.ggml\.token_type_count$/u;

/** What decides how a model computes: the keys of its architecture as they are in the file, and the few that are none's. */
export function architectureEntries(
  entries: GgufHeader['entries'],
  architecture: string,
): { readonly metadata: Buffer; readonly keys: number } {
  const own = [...entries].filter(
    ([key]) =>
      (key.startsWith(`${architecture}.`) && key !== `${architecture}.vocab_size`) || commonKey.test(key),
  );
  return { metadata: Buffer.concat(own.map(([, bytes]) => bytes)), keys: own.length };
}

/**
 * A GGUF header of version 3 (docs/gguf.md of ggml) from which llama.cpp builds the graphs of a model: the keys of its
 * architecture, its tensors, and in the place of a vocabulary the number of its tokens.
 */
export function graphHeader(model: {
  readonly architecture: string;
  readonly vocabulary: number;
  readonly metadata: Uint8Array;
  readonly metadataKeys: number;
  readonly tensors: readonly Pick<GgufTensor, 'name' | 'type' | 'shape' | 'bytes'>[];
}): Buffer {
  const { architecture, vocabulary, metadata, metadataKeys, tensors } = model;
  const parts: Uint8Array[] = [
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(metadataKeys + 3),
    entry('general.architecture', types.string, text(architecture)),
    entry('tokenizer.ggml.model', types.string, text('none')),
    entry(`${architecture}.vocab_size`, types.u32, u32(vocabulary)),
    metadata,
  ];
  let offset = 0;
  for (const { name, shape, type, bytes } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset));
    offset += Math.ceil(bytes / alignment) * alignment;
  }
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  return Buffer.concat([...parts, Buffer.alloc(Math.ceil(bytes / alignment) * alignment - bytes)]);
}

function entry(key: string, type: number, value: Uint8Array): Buffer {
  return Buffer.concat([text(key), u32(type), value]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
