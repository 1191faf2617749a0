import type { ImportedTensor } from '@butterfly/ggml';

/** Which source of an attention is its sinks (ggml_flash_attn_ext_add_sinks). */
export const sinksOperand = 4;
/** Where ggml_flash_attn_ext has the largest bias of ALiBi among its parameters, in bytes. */
const biasOffset = 4;

/** Whether an attention counts tokens the less the farther they are (https://arxiv.org/abs/2108.12409). */
export function isBiased({ params }: Pick<ImportedTensor, 'params'>): boolean {
  return new DataView(params.buffer, params.byteOffset).getFloat32(biasOffset, true) > 0;
}
