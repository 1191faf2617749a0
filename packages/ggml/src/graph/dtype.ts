import { ensure } from '@butterfly/common';
import type { Ggml } from '../library/library.js';

/** `enum ggml_type` of ggml.h: the types that Butterfly itself names; weights may have any type that ggml knows. */
export const dtype = { F32: 0, F16: 1, Q8_0: 8, I32: 26, I64: 27, BF16: 30 } as const;

/** Q8_1, Q8_K, I8, I16, I32, I64, F64: for indices and intermediate results; ggml has no kernels that multiply by them. */
const weightlessTypes: ReadonlySet<number> = new Set([9, 15, 24, 25, 26, 27, 28]);

/** Whether ggml can multiply by, look up and quantise to tensors of this type. */
export function isWeightType(type: number): boolean {
  return !weightlessTypes.has(type);
}

export interface TypeTraits {
  readonly name: string;
  /** Elements per block. */
  readonly blockSize: number;
  /** Bytes per block. */
  readonly blockBytes: number;
}

const cache = new Map<number, TypeTraits>();

/** @throws ButterflyError COMPUTE_INVALID for a type that ggml does not know. */
export function typeTraits(ggml: Ggml, type: number): TypeTraits {
  const known = cache.get(type);
  if (known) return known;
  // GGML_TYPE_COUNT guards the native table against a read behind its end.
  ensure(Number.isInteger(type) && type >= 0 && type < 43, () => `ggml has no type ${type}.`);
  const blockSize = ggml.base.ggml_blck_size(type);
  ensure(blockSize > 0, () => `ggml type ${type} is retired.`);
  const traits = {
    name: ggml.base.ggml_type_name(type) ?? '',
    blockSize,
    blockBytes: ggml.base.ggml_type_size(type),
  };
  cache.set(type, traits);
  return traits;
}

/** Bytes of a row of `elements`. @throws ButterflyError COMPUTE_INVALID unless it is whole blocks, at least one. */
export function rowBytes(ggml: Ggml, type: number, elements: number): number {
  const { blockSize, blockBytes, name } = typeTraits(ggml, type);
  ensure(
    elements > 0 && elements % blockSize === 0,
    () => `A row of ${elements} elements is not whole ${name} blocks of ${blockSize}.`,
  );
  return (elements / blockSize) * blockBytes;
}
