import { dtype } from '@butterfly/ggml';
import type { ModelTensor } from '@butterfly/model';
import type { TensorSource } from '@butterfly/weights';

/**
 * Vectors of ones, as norms and factors that divide must not be zero, and matrices of zeros, which all types have. What
 * chooses experts is noise, so that rows choose several, and not always the same ones, which a cache would hold.
 */
export const madeUpWeights: TensorSource = {
  read: (tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> => {
    const isVector = tensor.shape.length === 1 && tensor.type === dtype.F32;
    const isRouter = tensor.type === dtype.F32 && tensor.name.endsWith('.ffn_gate_inp.weight');
    const bytes = Buffer.from(target.buffer, target.byteOffset, target.byteLength);
    if (isVector) bytes.fill(oneInF32);
    else if (isRouter) fillNoise(bytes, offset);
    else target.fill(0);
    return Promise.resolve();
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

const oneInF32 = Buffer.from(new Float32Array([1]).buffer);

/** Numbers between -1 and 1 that are the same each time. */
function fillNoise(bytes: Buffer, offset: number): void {
  for (let at = 0; at + 4 <= bytes.length; at += 4)
    bytes.writeFloatLE(Math.imul(offset + at + 1, 0x9e3779b1) / 2 ** 31, at);
}

/** Logits of which some hundred tokens have nearly all of the likelihood, as those of a language: sampling takes its time by them. */
export function likelyLogits(vocabulary: number): Float32Array {
  return Float32Array.from({ length: vocabulary }, (_, i) => -1.5 * Math.log(1 + ((i * 7919) % vocabulary)));
}
