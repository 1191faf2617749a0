import type { ClusterGlance, EventView, ModelGlance } from '@butterfly/telemetry';

type Worker = ClusterGlance['workers'][number];
type Share = ModelGlance['workers'][number];
type Replica = NonNullable<ModelGlance['cluster']>['replicas'][number];

/** A stage as a box. */
export interface StageBox {
  readonly workerId: string;
  readonly name: string;
  /** Both included. */
  readonly layers: readonly [first: number, last: number];
  readonly device: string;
  /** What the stage takes, of what its worker offers. */
  readonly usedBytes: number;
  readonly offeredBytes: number;
  /** Of a card: the same beside it. */
  readonly host: { readonly usedBytes: number; readonly offeredBytes: number } | null;
  /** Time of a step of one row: as it was of late, and as the plan has it. */
  readonly measuredMs: number | null;
  readonly plannedMs: number;
  /** From 0 to 1, of late. */
  readonly busyShare: number;
  /** Whether the most of the time per token is its: the others wait for it. */
  readonly isSlowest: boolean;
  readonly isDraining: boolean;
  /** Whether its worker is not there any more. */
  readonly isGone: boolean;
}

/** From one stage to the next, or from and to the orchestrator. */
export interface Hop {
  readonly latencyMs: number;
  readonly bytesPerSecond: number;
  readonly isRelayed: boolean;
}

/** One replica, from the orchestrator through all stages and back. */
export interface Pipeline {
  readonly replica: number;
  readonly isReady: boolean;
  readonly detail: string;
  readonly epoch: number | null;
  readonly running: number;
  readonly queued: number;
  readonly stages: readonly StageBox[];
  /** Before each stage, and behind the last one; null where nothing was measured. */
  readonly hops: readonly (Hop | null)[];
  readonly predicted: { readonly tokensPerSecond: number; readonly latencyMs: number } | null;
}

export function pipelinesOf(
  glance: ClusterGlance,
  model: ModelGlance,
  busy: ReadonlyMap<string, number>,
): Pipeline[] {
  const workers = new Map(glance.workers.map((worker) => [worker.workerId, worker]));
  const shares = new Map(model.workers.map((share) => [share.workerId, share]));
  return (model.cluster?.replicas ?? []).map((replica) => pipelineOf(replica, { workers, shares, busy }));
}

interface Known {
  readonly workers: ReadonlyMap<string, Worker>;
  readonly shares: ReadonlyMap<string, Share>;
  readonly busy: ReadonlyMap<string, number>;
}

function pipelineOf(replica: Replica, { workers, shares, busy }: Known): Pipeline {
  const { plan } = replica;
  const stages = plan?.stages ?? [];
  const slowest = Math.max(...stages.map(({ microsPerToken }) => microsPerToken));
  const boxes = stages.map((stage): StageBox => {
    const { workerId, bytes, host, decodeMicros, microsPerToken } = stage;
    const worker = workers.get(workerId);
    const share = shares.get(workerId);
    const measured = share?.stepMicros ?? null;
    return {
      workerId,
      name: worker?.name ?? workerId,
      layers: [stage.layerStart, stage.layerEnd - 1],
      device: worker ? deviceWords(worker) : 'gone',
      usedBytes: share?.residentBytes ?? bytes,
      offeredBytes: worker?.memoryBytes ?? bytes,
      host: worker?.host ? { usedBytes: host?.bytes ?? 0, offeredBytes: worker.host.memoryBytes } : null,
      measuredMs: measured === null ? null : measured / 1000,
      plannedMs: decodeMicros / 1000,
      busyShare: busy.get(workerId) ?? 0,
      isSlowest: stages.length > 1 && microsPerToken === slowest,
      isDraining: share?.state === 'draining',
      isGone: worker === undefined,
    };
  });
  const ids = stages.map(({ workerId }) => workerId);
  const { replica: number, isReady, detail, epoch, running, queued } = replica;
  return {
    ...{ replica: number, isReady, detail, epoch, running, queued },
    stages: boxes,
    hops: [null, ...ids].map((from, index) => hopOf(workers, from, ids[index] ?? null)),
    predicted: plan && {
      tokensPerSecond: plan.predicted.tokensPerSecond,
      latencyMs: plan.predicted.latencyMicros / 1000,
    },
  };
}

/** Links are kept with the worker at one of their ends; null stands for the orchestrator. */
function hopOf(workers: ReadonlyMap<string, Worker>, from: string | null, to: string | null): Hop | null {
  const linkFrom = (one: string | null, other: string | null) =>
    one === null ? undefined : workers.get(one)?.links.find(({ toWorkerId }) => toWorkerId === other);
  const link = linkFrom(from, to) ?? linkFrom(to, from);
  if (!link) return null;
  const { latencyMicros, bytesPerSecond, isRelayed } = link;
  return { latencyMs: latencyMicros / 1000, bytesPerSecond, isRelayed };
}

export function deviceWords({ device, threads }: Pick<Worker, 'device' | 'threads'>): string {
  return device.kind === 'cpu'
    ? `${threads} ${threads === 1 ? 'thread' : 'threads'}${device.name === '' ? '' : `, ${device.name}`}`
    : device.description || device.name;
}

/** A worker that is no stage of any model. */
export interface IdleWorker {
  readonly workerId: string;
  readonly name: string;
  readonly state: Share['state'];
  readonly device: string;
  readonly offeredBytes: number;
  /** From 0 to 1, while it loads. */
  readonly loadedShare: number | null;
}

/** What matters most of what a worker is to several models. */
const ranked: readonly Share['state'][] = [
  'draining',
  'loading',
  'measuring',
  'spare',
  'leftOut',
  'serving',
  'idle',
];

/** The workers that are no stage of a plan in force. */
export function idleWorkersOf({ workers, models }: ClusterGlance): IdleWorker[] {
  const planned = new Set(
    models.flatMap(({ cluster }) =>
      (cluster?.replicas ?? []).flatMap(({ plan }) => (plan?.stages ?? []).map(({ workerId }) => workerId)),
    ),
  );
  const shares = new Map<string, Share[]>();
  for (const share of models.flatMap((model) => model.workers))
    shares.set(share.workerId, [...(shares.get(share.workerId) ?? []), share]);
  return workers
    .filter(({ workerId }) => !planned.has(workerId))
    .map((worker) => {
      const own = shares.get(worker.workerId) ?? [];
      const share = ranked
        .map((state) => own.find((each) => each.state === state))
        .find((each) => each !== undefined);
      const loading = own.map((each) => each.loading).find((each) => each !== null && each.totalBytes > 0);
      return {
        workerId: worker.workerId,
        name: worker.name,
        state: share?.state ?? 'idle',
        device: deviceWords(worker),
        offeredBytes: worker.memoryBytes,
        loadedShare: loading ? loading.loadedBytes / loading.totalBytes : null,
      };
    });
}

/** A worker that was lost and has not come back. */
export interface LostWorker {
  readonly workerId: string;
  readonly name: string;
  readonly atMs: number;
  readonly words: string;
}

const shownLostMs = 3_600_000;
const lostMax = 12;

/** Those of the last hour, the newest first. One that comes back has another id and the same name. */
export function lostWorkersOf(
  { workers }: ClusterGlance,
  events: readonly EventView[],
  nowMs: number,
): LostWorker[] {
  const here = new Set(workers.flatMap(({ workerId, name }) => [workerId, name]));
  const lost = new Map<string, LostWorker>();
  for (const { kind, atMs, words, fields } of events) {
    if (kind !== 'workerLeft' || nowMs - atMs > shownLostMs) continue;
    const [workerId, name] = [String(fields.workerId), String(fields.name)];
    if (!here.has(workerId) && !here.has(name)) lost.set(name, { workerId, name, atMs, words });
  }
  return [...lost.values()].sort((a, b) => b.atMs - a.atMs).slice(0, lostMax);
}
