import type { CacheType } from '@butterfly/wire';
import type { LayerAttention } from './spec.js';

/** Cached slots are read in whole blocks of this many, so that a graph serves many steps; as llama.cpp pads its cache. */
export const cacheBlockSlots = 256;

/** Bytes of so many cached elements; Q8_0 has a scale in F16 for each 32. */
const bytesPerElement: Readonly<Record<CacheType, number>> = { f16: 2, bf16: 2, q8_0: 34 / 32 };

/** Bytes that one cached token takes in a layer: keys and values. */
export function cacheBytesPerSlot(
  layer: Pick<LayerAttention, 'kvHeads' | 'keySize' | 'valueSize'>,
  type: CacheType,
): number {
  return layer.kvHeads * (layer.keySize + layer.valueSize) * bytesPerElement[type];
}
