import { holdsSomeLayer, offeredBytes } from './stage-memory.js';
import type { PlannerInput, PlannerWorker } from './types.js';

/** Up to so many workers more than there are layers are looked at in full. */
const spareChoices = 64;

/**
 * The workers that a plan for a large cluster is made of: those that hold a layer at all, and of these in turn the
 * fastest, the roomiest, and the nearest to the orchestrator, in the order of the input. More than there are layers
 * of them, so where any plan fits the memory of like layers, one of these does.
 */
export function shortlist(
  { model, workers, link }: PlannerInput,
  most = model.layerBytes.length + spareChoices,
): readonly PlannerWorker[] {
  const able = workers.filter((worker) => holdsSomeLayer(model, worker));
  if (able.length <= most) return able;
  const ranked = (rank: (worker: PlannerWorker) => number): PlannerWorker[] =>
    able
      .map((worker) => ({ worker, rank: rank(worker) }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ worker }) => worker);
  const lists = [
    ranked(({ layerCurve }) => layerCurve[0]?.micros ?? 0),
    ranked((worker) => -offeredBytes(worker)),
    ranked(({ workerId }) => link(null, workerId).latencyMicros),
  ];
  const chosen = new Set<PlannerWorker>();
  for (let place = 0; chosen.size < most; place += 1)
    for (const list of lists) {
      const worker = list[place];
      if (worker !== undefined && chosen.size < most) chosen.add(worker);
    }
  return able.filter((worker) => chosen.has(worker));
}
