import { fitsWorker } from './stage-memory.js';
import type { PlannerInput, Placement } from './types.js';

type Placements = readonly Placement[];

/** Whether layers may be parted so, and every stage fits the memory of its worker. */
export function fits({ model, workers }: PlannerInput, placements: Placements): boolean {
  const byId = new Map(workers.map((worker) => [worker.workerId, worker]));
  return placements.every((placement) => {
    const worker = byId.get(placement.workerId);
    const mayBegin = model.joinedLayers?.has(placement.layerStart) !== true;
    return mayBegin && worker !== undefined && fitsWorker(model, worker, placement);
  });
}

/** These stages with one more worker: in the place of another one, or with one layer of a neighbour. */
export function variantsWith(stages: Placements, workerId: string): Placement[][] {
  const variants: Placement[][] = [];
  for (const [index, stage] of stages.entries()) {
    const { layerStart, layerEnd } = stage;
    variants.push(stages.with(index, { ...stage, workerId }));
    if (layerEnd - layerStart < 2) continue;
    const own = (from: number, to: number): Placement => ({ workerId, layerStart: from, layerEnd: to });
    const shorter = { ...stage, layerEnd: layerEnd - 1 };
    const later = { ...stage, layerStart: layerStart + 1 };
    variants.push(stages.toSpliced(index, 1, shorter, own(layerEnd - 1, layerEnd)));
    variants.push(stages.toSpliced(index, 1, own(layerStart, layerStart + 1), later));
  }
  return variants;
}
