import { limits } from '@butterfly/common';
import type { ModelTensor } from './spec.js';

/** A part of a tensor. */
export interface TensorRange {
  /** Byte offset within the tensor. */
  readonly offset: number;
  readonly bytes: number;
}

/** The ranges in which a tensor is loaded, hashed and cached, on every machine the same. */
export function tensorChunks(tensor: Pick<ModelTensor, 'bytes'>): TensorRange[] {
  const size = limits.fileChunkBytesMax;
  return Array.from({ length: Math.ceil(tensor.bytes / size) }, (_, i) => ({
    offset: i * size,
    bytes: Math.min(size, tensor.bytes - i * size),
  }));
}

/** Whether a range is one of `tensorChunks`. */
export function isTensorChunk(tensor: Pick<ModelTensor, 'bytes'>, { offset, bytes }: TensorRange): boolean {
  const size = limits.fileChunkBytesMax;
  return offset % size === 0 && offset < tensor.bytes && bytes === Math.min(size, tensor.bytes - offset);
}
