import type { Placement, PlannerModel, PlannerWorker, PlanStage } from './types.js';

/** Memory that a stage takes of what its worker offers. */
export type StageMemory = Pick<PlanStage, 'bytes' | 'host'>;

/** What of a worker decides where the parts of a stage lie. */
type Holder = Pick<PlannerWorker, 'memoryBytes' | 'host'>;

type Range = Pick<Placement, 'layerStart' | 'layerEnd' | 'hostExperts'>;

/**
 * Memory of a stage that lies in one place: weights and KV arena of its layers and the overhead, with the embedding on the
 * first and the head on the last stage.
 */
export function stageBytes(model: PlannerModel, layerStart: number, layerEnd: number): number {
  let bytes = model.overheadBytes;
  for (let layer = layerStart; layer < layerEnd; layer += 1)
    bytes += (model.layerBytes[layer] ?? 0) + (model.kvBytesPerSlot[layer] ?? 0) * model.arenaSlots;
  if (layerStart === 0) bytes += model.inputBytes;
  if (layerEnd === model.layerBytes.length) bytes += model.outputBytes;
  return bytes;
}

/** What of the memory of a stage is its own, without the overhead of every stage. */
export function stageParts(
  model: PlannerModel,
  layerStart: number,
  layerEnd: number,
): { readonly weightBytes: number; readonly cacheBytes: number } {
  const weightBytes = stageBytes({ ...model, arenaSlots: 0, overheadBytes: 0 }, layerStart, layerEnd);
  const bytes = stageBytes({ ...model, overheadBytes: 0 }, layerStart, layerEnd);
  return { weightBytes, cacheBytes: bytes - weightBytes };
}

/**
 * Memory of a stage on a worker. On a card the embedding lies with the host, and so do the experts of as few of its layers
 * as let the rest fit the card, the first ones; of all where not even that does.
 */
export function stageMemory(model: PlannerModel, worker: Holder, range: Range): StageMemory {
  const { layerStart, layerEnd } = range;
  const { host } = worker;
  const { overheadBytes, deviceOverheadBytes = overheadBytes } = model;
  const overhead = host ? deviceOverheadBytes : overheadBytes;
  const all = stageBytes({ ...model, overheadBytes: overhead }, layerStart, layerEnd);
  const fixed = range.hostExperts;
  // In one memory it makes no difference, but the shard is another one.
  if (!host) return fixed ? { bytes: all, host: { bytes: 0, experts: fixed } } : { bytes: all };
  const looked = layerStart === 0 ? model.inputBytes : 0;
  const least = host.experts === 'host' ? layerEnd - layerStart : 0;
  const most = host.experts === 'device' ? 0 : layerEnd - layerStart;
  let experts = Math.min(fixed ?? least, layerEnd - layerStart);
  let moved = 0;
  for (let layer = 0; layer < experts; layer += 1) moved += expertsOf(model, layerStart + layer);
  while (fixed === undefined && experts < most && all - looked - moved > worker.memoryBytes) {
    moved += expertsOf(model, layerStart + experts);
    experts += 1;
  }
  return {
    bytes: all - looked - moved,
    host: { bytes: (model.hostOverheadBytes ?? 0) + looked + moved, experts },
  };
}

/** Whether a worker offers what a stage takes; one on the CPU has all of it in the same place. */
export function holds(
  worker: { readonly memoryBytes: number; readonly host?: { readonly memoryBytes: number } | undefined },
  { bytes, host }: StageMemory,
): boolean {
  const hostBytes = host?.bytes ?? 0;
  if (!worker.host) return bytes + hostBytes <= worker.memoryBytes;
  return bytes <= worker.memoryBytes && hostBytes <= worker.host.memoryBytes;
}

/** Whether a stage of these layers fits a worker. */
export function fitsWorker(model: PlannerModel, worker: Holder, range: Range): boolean {
  return holds(worker, stageMemory(model, worker, range));
}

/** Whether some layer by itself fits a worker. */
export function holdsSomeLayer(model: PlannerModel, worker: Holder): boolean {
  return model.layerBytes.some((_, layer) =>
    fitsWorker(model, worker, { layerStart: layer, layerEnd: layer + 1 }),
  );
}

/** All that a worker offers. */
export function offeredBytes({ memoryBytes, host }: Holder): number {
  return memoryBytes + (host?.memoryBytes ?? 0);
}

function expertsOf({ expertBytes }: PlannerModel, layer: number): number {
  return expertBytes?.[layer] ?? 0;
}
