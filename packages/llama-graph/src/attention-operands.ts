import { tensorFlags, type ImportedTensor } from '@butterfly/ggml';

/** Which source of an attention is its sinks (ggml_flash_attn_ext_add_sinks). */
export const sinksOperand = 4;
/** Where ggml_flash_attn_ext has the largest bias of ALiBi among its parameters, in bytes. */
const biasOffset = 4;

/** Whether an attention counts tokens the less the farther they are (https://arxiv.org/abs/2108.12409). */
export function isBiased({ params }: Pick<ImportedTensor, 'params'>): boolean {
  return new DataView(params.buffer, params.byteOffset).getFloat32(biasOffset, true) > 0;
}

/** Which source of an attention is its mask (ggml_flash_attn_ext). */
export const maskOperand = 3;
/** The mask of layers without a window where nothing is cached; that of the others has no name (build_attn_inp_no_cache). */
const wholeMask = 'self_kq_mask';

/** Whether a leaf is what an attention without a cache takes for its mask. */
export function isMaskOf(leaf: ImportedTensor, reader: ImportedTensor): boolean {
  return (
    reader.op === 'FLASH_ATTN_EXT' &&
    reader.sources[maskOperand] === leaf.pointer &&
    (leaf.flags & tensorFlags.input) !== 0
  );
}

/** Whether the mask of an attention without a cache is one with a window. */
export function hasWindow({ name }: Pick<ImportedTensor, 'name'>): boolean {
  return name !== wholeMask;
}
