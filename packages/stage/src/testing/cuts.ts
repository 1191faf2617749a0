import { type ModelSpec, joinedLayers } from '@butterfly/model';

/** Cuts that are other ones for each name, and the same each time, where the layers of a model can be parted. */
export function randomCuts(name: string, stages: number, spec: ModelSpec): number[] {
  const { layers } = spec;
  let seed = Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 65_537, stages);
  const joined = joinedLayers(spec);
  const cuts = new Set<number>();
  while (cuts.size < Math.min(stages, layers - joined.size) - 1) {
    seed = (seed * 75 + 74) % 65_537;
    const cut = 1 + (seed % (layers - 1));
    if (!joined.has(cut)) cuts.add(cut);
  }
  return [...cuts].sort((a, b) => a - b);
}
