import { ensure } from '@butterfly/common';
import type { ModelSpec } from './spec.js';

type Cuts = Pick<ModelSpec, 'layers' | 'crossings'>;

/** Whether a stage may begin with a layer, or end before it. */
export function canCutAt({ layers, crossings }: Cuts, layer: number): boolean {
  return layer === 0 || layer === layers || (crossings[layer - 1] ?? null) !== null;
}

/**
 * F32 numbers of each row that enter a stage which begins with a layer, but for the first, which takes tokens.
 * @throws ButterflyError COMPUTE_INVALID where none may begin
 */
export function crossingWidth({ crossings }: Cuts, layer: number): number {
  const width = crossings[layer - 1] ?? null;
  ensure(width !== null, () => `No stage can begin with layer ${layer}: it stays with the one before it.`);
  return width;
}

/** Bytes of the widest row of activations between two stages; 0 in a model that is one stage only. */
export function activationBytes({ crossings }: Pick<Cuts, 'crossings'>): number {
  return Math.max(0, ...crossings.map((width) => width ?? 0)) * Float32Array.BYTES_PER_ELEMENT;
}

/** Whether any of these layers reads token ids, though it is not the first. */
export function readsTokens(
  { tokenLayers }: Pick<ModelSpec, 'tokenLayers'>,
  layerStart: number,
  layerEnd: number,
): boolean {
  return tokenLayers.some((layer) => layerStart <= layer && layer < layerEnd);
}

/** Layers that stay with the one before them in every split. */
export function joinedLayers({ crossings }: Pick<Cuts, 'crossings'>): ReadonlySet<number> {
  return new Set(crossings.flatMap((width, before) => (width === null ? [before + 1] : [])));
}
