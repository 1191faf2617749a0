import { describeFamilyModel, readGgufBytes } from '@butterfly/model';
import type { FuzzTarget } from '../engine/target.js';

const keys = [
  ...'general.architecture general.alignment general.name split.count split.no split.tensors.count'.split(
    ' ',
  ),
  ...'model pre tokens token_type scores merges unknown_token_id precompiled_charsmap bos_token_id add_bos_token'
    .split(' ')
    .map((key) => `tokenizer.ggml.${key}`),
  ...'block_count embedding_length attention.head_count attention.head_count_kv context_length feed_forward_length'
    .split(' ')
    .map((key) => `llama.${key}`),
  ...'rope.freq_base rope.dimension_count rope.scaling.type rope.scaling.factor vocab_size pooling_type'
    .split(' ')
    .map((key) => `llama.${key}`),
  ...'attention.layer_norm_rms_epsilon attention.key_length attention.value_length attention.sliding_window'
    .split(' ')
    .map((key) => `llama.${key}`),
];

/** Texts as the file has them: behind their lengths. */
function counted(text: string): Uint8Array {
  const bytes = Buffer.alloc(8 + Buffer.byteLength(text));
  bytes.writeUInt32LE(bytes.length - 8);
  bytes.write(text, 8);
  return bytes;
}

/** Keys with the number of a type behind them, and the beginnings of arrays. */
const entries = keys.flatMap((key, index) =>
  [index % 13, 4, 8].map((type) => Buffer.concat([counted(key), Uint8Array.of(type, 0, 0, 0)])),
);
const arrays = Array.from({ length: 13 }, (_, type) => Uint8Array.of(9, 0, 0, 0, type, 0, 0, 0));
const kinds = 'llama gpt2 gemma4 bert t5 rwkv plamo2 none qwen2 qwen3 linear yarn default'.split(' ');

/** A file in memory: header, vocabulary, places of tensors, and what model it describes. */
export const gguf: FuzzTarget = {
  name: 'gguf',
  inputBytesMax: 16_384,
  words: [
    ...keys,
    ...entries,
    ...arrays,
    ...kinds.map(counted),
    'GGUF',
    'output.weight',
    'token_embd.weight',
  ],
  run(input) {
    // The last two bytes say how far the file goes on behind what was written of it, for tensors that are not there.
    const more = (input.at(-1) ?? 0) * 4096 + (input.at(-2) ?? 0) * 32;
    const content = readGgufBytes(input, input.length + more, 'fuzz.gguf');
    if (typeof content === 'number') return;
    const file = { path: 'fuzz.gguf', bytes: input.length + more, metadataBytes: content.dataOffset };
    const hash = '0'.repeat(64);
    describeFamilyModel({
      ...content,
      files: [{ ...file, metadataSha256: hash, weightsSha256: hash, stamp: 'none' }],
    });
  },
};
