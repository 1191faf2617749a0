import type { CacheType } from '@butterfly/wire';
import type { LayerAttention, ModelSpec } from './spec.js';

/** Cached slots are read in whole blocks of this many, so that a graph serves many steps; as llama.cpp pads its cache. */
export const cacheBlockSlots = 256;

/** Bytes of so many cached elements; Q8_0 has a scale in F16 for each 32. */
const bytesPerElement: Readonly<Record<CacheType, number>> = { f16: 2, bf16: 2, q8_0: 34 / 32 };

/** Bytes that one cached token takes in a layer: keys and values. */
export function cacheBytesPerSlot(
  layer: Pick<LayerAttention, 'kvHeads' | 'keySize' | 'valueSize'> | null,
  type: CacheType,
): number {
  if (layer === null) return 0;
  return layer.kvHeads * (layer.keySize + layer.valueSize) * bytesPerElement[type];
}

/** Slots of states that each stage has; 0 for a model without. */
export function stateSlotsOf({ graph }: Pick<ModelSpec, 'graph'>): number {
  return graph.kind === 'imported' ? graph.stateSlots : 0;
}

/** Bytes of the states of all sequences in a layer. */
export function stateBytes({ graph }: Pick<ModelSpec, 'graph'>, layer: number): number {
  if (graph.kind !== 'imported') return 0;
  const widths = graph.states[layer] ?? [];
  return (
    widths.reduce((sum, { width }) => sum + width * Float32Array.BYTES_PER_ELEMENT, 0) * graph.stateSlots
  );
}

/** The attention of a layer that is like most of those that attend; null in a model without attention. */
export function typicalAttention(attention: ModelSpec['attention']): LayerAttention | null {
  const attending = attention.filter((layer) => layer !== null);
  return attending[Math.floor(attending.length / 2)] ?? null;
}
