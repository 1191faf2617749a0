import { costBy } from './own-cost.js';
import { fitsWorker } from './stage-memory.js';
import type { Effort, PlannerInput, PlannerWorker, Placement } from './types.js';

type Placements = readonly Placement[];
/** Chooses places for the workers of the input; null where they cannot hold the model. */
type Place = (input: PlannerInput, effort: Effort) => Placements | null;

/** Up to so many stages the pipeline is planned without each of them; of more the least useful go together. */
const eachTriedMax = 8;

/** Workers without a place that have the memory for at least one of the stages. */
export function sparesOf({ model, workers }: PlannerInput, placements: Placements): PlannerWorker[] {
  const used = new Set(placements.map(({ workerId }) => workerId));
  return workers.filter(
    (worker) =>
      !used.has(worker.workerId) && placements.some((placement) => fitsWorker(model, worker, placement)),
  );
}

/**
 * Takes places away until as many workers are spares as the input asks for, as far as the others hold the model. Those
 * go first whose absence is predicted to cost least.
 * @returns the same placements where enough are spares already, or none more can be
 */
export function keepSpares(
  input: PlannerInput,
  placements: Placements,
  place: Place,
  effort: Effort,
): Placements {
  const wanted = input.spares ?? 0;
  const count = (each: Placements): number => sparesOf(input, each).length;
  let kept = placements;
  for (let missing = wanted - count(kept); missing > 0; missing = wanted - count(kept)) {
    const next = without(kept, missing, input, place);
    if (next === null) break;
    kept = next;
  }
  if (kept === placements || effort === 'quick') return kept;
  const careful = place({ ...input, workers: withPlace(input, kept) }, effort);
  return careful !== null && count(careful) >= count(kept) ? careful : kept;
}

/** All workers but the spares. */
function withPlace(input: PlannerInput, placements: Placements): PlannerWorker[] {
  const spares = new Set(sparesOf(input, placements));
  return input.workers.filter((worker) => !spares.has(worker));
}

/** Places that leave more spares than these; null where there are none. */
function without(
  placements: Placements,
  missing: number,
  input: PlannerInput,
  place: Place,
): Placements | null {
  const workers = withPlace(input, placements);
  const before = sparesOf(input, placements).length;
  const leave = (out: ReadonlySet<string>): Placements | null => {
    const left = workers.filter(({ workerId }) => !out.has(workerId));
    const found = place({ ...input, workers: left }, 'quick');
    return found !== null && sparesOf(input, found).length > before ? found : null;
  };
  const ids = leastUsefulFirst(placements, workers);
  if (ids.length <= eachTriedMax)
    return fastest(
      input,
      ids.map((id) => leave(new Set([id]))).filter((found) => found !== null),
    );
  for (let count = missing; count >= 1; count = Math.floor(count / 2)) {
    const found = leave(new Set(ids.slice(0, count)));
    if (found !== null) return found;
  }
  return null;
}

/** Whoever has the fewest layers, and of these whoever takes longest for one. */
function leastUsefulFirst(placements: Placements, workers: readonly PlannerWorker[]): string[] {
  const micros = new Map(workers.map(({ workerId, layerCurve }) => [workerId, layerCurve[0]?.micros ?? 0]));
  const layers = ({ layerStart, layerEnd }: Placement): number => layerEnd - layerStart;
  return [...placements]
    .sort((a, b) => layers(a) - layers(b) || (micros.get(b.workerId) ?? 0) - (micros.get(a.workerId) ?? 0))
    .map(({ workerId }) => workerId);
}

function fastest(input: PlannerInput, found: readonly Placements[]): Placements | null {
  const ranked = found.map((placements) => ({ placements, cost: costBy(input, placements) }));
  return ranked.sort((a, b) => a.cost - b.cost)[0]?.placements ?? null;
}
