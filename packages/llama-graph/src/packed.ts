import type { Tensor } from '@butterfly/ggml';

/** Whether the elements of an F32 tensor lie close in their order; the stride of a dimension of one element says nothing. */
export function isPacked({ shape, strides }: Pick<Tensor, 'shape' | 'strides'>): boolean {
  let expected = Float32Array.BYTES_PER_ELEMENT;
  return shape.every((size, dimension) => {
    const isClose = size === 1 || strides[dimension] === expected;
    expected *= size;
    return isClose;
  });
}
