import { type MetadataEntry, type TensorEntry, encodeGgufHeader } from '@butterfly/testkit';

const layers = 2;
const [width, feedForward, vocabulary] = [64, 128, 32];
const number = (value: number): MetadataEntry => ({ type: 'u32', value });

/** Metadata of a tiny model of the llama family; undefined takes a key away. */
export function headerOf(change: Readonly<Record<string, MetadataEntry | undefined>> = {}): Uint8Array {
  const metadata: Record<string, MetadataEntry | undefined> = {
    'general.architecture': { type: 'string', value: 'llama' },
    'tokenizer.ggml.model': { type: 'string', value: 'none' },
    'llama.vocab_size': number(vocabulary),
    'llama.context_length': number(256),
    'llama.block_count': number(layers),
    'llama.embedding_length': number(width),
    'llama.feed_forward_length': number(feedForward),
    'llama.attention.head_count': number(2),
    'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    ...change,
  };
  const known = Object.entries(metadata).flatMap(([key, value]) => (value ? [[key, value] as const] : []));
  return encodeGgufHeader(Object.fromEntries(known), tensors());
}

function tensors(): TensorEntry[] {
  const shapes: (readonly [name: string, shape: readonly number[]])[] = [
    ['token_embd.weight', [width, vocabulary]],
    ['output_norm.weight', [width]],
    ['output.weight', [width, vocabulary]],
  ];
  for (let layer = 0; layer < layers; layer++)
    shapes.push(
      ...['attn_norm', 'ffn_norm'].map((name) => [`blk.${layer}.${name}.weight`, [width]] as const),
      ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map(
        (name) => [`blk.${layer}.${name}.weight`, [width, width]] as const,
      ),
      ...['ffn_gate', 'ffn_up'].map((name) => [`blk.${layer}.${name}.weight`, [width, feedForward]] as const),
      [`blk.${layer}.ffn_down.weight`, [feedForward, width]],
    );
  let offset = 0;
  return shapes.map(([name, shape]) => {
    const entry = { name, type: 0, shape, offset };
    offset += shape.reduce((product, each) => product * each, 4);
    return entry;
  });
}
