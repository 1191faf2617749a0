import { joinedLayers, type ModelSpec } from '@butterfly/model';

/** Layers that every split leaves in one stage, such as `layers 4 to 7`; null where all can be parted. */
export function layersTogether(spec: Pick<ModelSpec, 'crossings'>): string | null {
  const groups: { first: number; last: number }[] = [];
  for (const layer of joinedLayers(spec)) {
    const group = groups.at(-1);
    if (group?.last === layer - 1) group.last = layer;
    else groups.push({ first: layer - 1, last: layer });
  }
  const words = groups.map(({ first, last }) => `${first} to ${last}`);
  return words.length === 0 ? null : `layers ${words.join(', ')}`;
}
