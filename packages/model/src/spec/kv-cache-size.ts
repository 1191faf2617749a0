import type { CacheType } from '@butterfly/wire';
import { servedHead } from './head.js';
import type { LayerAttention, ModelSpec, WindowsOfModel } from './spec.js';

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

/** The rooms of window layers; null where all layers keep the whole context. */
export function windowsOf({ graph }: Pick<ModelSpec, 'graph'>): WindowsOfModel | null {
  return graph.kind === 'imported' ? graph.windows : null;
}

/** The model with the whole context in every layer that attends. */
export function withoutRooms(spec: ModelSpec): ModelSpec {
  const { graph } = spec;
  return graph.kind === 'imported' ? { ...spec, graph: { ...graph, windows: null } } : spec;
}

/** Whether a layer keeps what its window needs, in rooms, if the model is served so. */
export function fitsRooms(layer: Pick<LayerAttention, 'window'> | null): boolean {
  return layer?.window?.kind === 'sliding';
}

/** Bytes of all cached tokens in a layer: those of its rooms, or of an arena of so many slots; with the last, those of a head. */
export function cacheBytes(
  spec: Pick<ModelSpec, 'attention' | 'graph'>,
  layer: number,
  { arenaSlots, type }: { readonly arenaSlots: number; readonly type: CacheType },
): number {
  const attention = spec.attention[layer] ?? null;
  const windows = windowsOf(spec);
  const slots = windows && fitsRooms(attention) ? windows.rooms * windows.roomSlots : arenaSlots;
  const head = layer === spec.attention.length - 1 ? servedHead(spec) : null;
  const headBytes = head ? cacheBytesPerSlot(head.attention, type) * arenaSlots : 0;
  return cacheBytesPerSlot(attention, type) * slots + headBytes;
}

/** Slots of states that each stage has; 0 for a model without. */
export function stateSlotsOf({ graph }: Pick<ModelSpec, 'graph'>): number {
  return graph.kind === 'imported' ? graph.stateSlots : 0;
}

/** Bytes of the state of one sequence in a layer. */
export function stateBytesPerSlot({ graph }: Pick<ModelSpec, 'graph'>, layer: number): number {
  const states = graph.kind === 'imported' ? (graph.states[layer] ?? []) : [];
  return states.reduce((sum, { width }) => sum + width * Float32Array.BYTES_PER_ELEMENT, 0);
}

/** Bytes of all slots for states in a layer. */
export function stateBytes(spec: Pick<ModelSpec, 'graph'>, layer: number): number {
  return stateBytesPerSlot(spec, layer) * stateSlotsOf(spec);
}

/** The attention of a layer that is like most of those that attend; null in a model without attention. */
export function typicalAttention(attention: ModelSpec['attention']): LayerAttention | null {
  const attending = attention.filter((layer) => layer !== null);
  return attending[Math.floor(attending.length / 2)] ?? null;
}
