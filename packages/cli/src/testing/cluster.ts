import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import type { Plan } from '@butterfly/planning';

const curve = (micros: number) => [
  { rows: 1, micros },
  { rows: 64, micros: micros * 9 },
];

export function describedWorker(
  workerId: string,
  changes: Partial<WorkerDescription> = {},
): WorkerDescription {
  return {
    workerId,
    name: `name-of-${workerId}`,
    version: '0.1.0',
    kernels: 'haswell on linux x64 with ggml 0.25.1',
    state: 'serving',
    replica: 1,
    layers: null,
    stepMicros: null,
    device: { name: 'cpu', kind: 'cpu', description: 'haswell' },
    threads: 2,
    memoryBytes: 8 * 2 ** 30,
    residentBytes: 3 * 2 ** 29,
    host: null,
    loading: null,
    loaded: { fileBytes: 0, cacheBytes: 2 ** 30, peerBytes: 0, orchestratorBytes: 2 ** 20, elapsedMs: 900 },
    profile: {
      layerCurve: curve(1000),
      outputCurve: curve(2000),
      attentionMicros: { f16: 50, bf16: 60, q8_0: 70 },
      diskBytesPerSecond: 1e9,
      cachedBytes: 2 ** 30,
      hasFiles: false,
    },
    links: [{ toWorkerId: null, latencyMicros: 150, bytesPerSecond: 1e8, isRelayed: false }],
    ...changes,
  };
}

/** A cluster of two stages and a spare. */
export function describedCluster(changes: Partial<ClusterDescription> = {}): ClusterDescription {
  const stage = { bytes: 2 ** 30, decodeMicros: 4300, microsPerToken: 1500, isRelayed: false };
  const toNext = { toWorkerId: 'w2', latencyMicros: 300, bytesPerSecond: 5e7, isRelayed: true };
  const plan: Plan = {
    objective: 'throughput',
    concurrency: 4,
    stages: [
      { workerId: 'w1', layerStart: 0, layerEnd: 4, ...stage },
      { workerId: 'w2', layerStart: 4, layerEnd: 8, ...stage, isRelayed: true },
    ],
    cacheType: 'f16',
    predicted: { latencyMicros: 9000, tokensPerSecond: 250 },
    reasons: [
      { workerId: 'w1', isUsed: true, reason: 'Takes layers 0 to 3.' },
      { workerId: 'w2', isUsed: true, reason: 'Takes layers 4 to 7.' },
      { workerId: 'w3', isUsed: false, reason: 'Would gain nothing.' },
    ],
  };
  return {
    model: { id: 'a-model', layers: 8, arenaSlots: 4096 },
    isReady: true,
    detail: 'All layers are live.',
    epoch: 3,
    plan,
    replicas: [
      {
        replica: 1,
        isReady: true,
        detail: 'ready',
        epoch: 3,
        plan,
        running: 4,
        queued: 0,
        verification: null,
      },
    ],
    measured: { windowMs: 60_000, tokensPerSecond: 240, microsPerToken: 15_500, concurrency: 3.8 },
    workers: [
      describedWorker('w3', { state: 'spare' }),
      describedWorker('w2', { layers: [4, 7], stepMicros: 8600 }),
      describedWorker('w1', { layers: [0, 3], links: [...describedWorker('w1').links, toNext] }),
    ],
    drains: [],
    notes: [],
    trouble: null,
    ...changes,
  };
}

/** The same with a second replica, of a single stage, that is to be loaded. */
export function describedReplicas(): ClusterDescription {
  const cluster = describedCluster();
  const [first] = cluster.replicas;
  const { plan } = cluster;
  if (!first || !plan) return cluster;
  const [stage] = plan.stages;
  const second: Plan = {
    ...plan,
    stages: stage ? [{ ...stage, workerId: 'w3', layerEnd: 8 }] : [],
    predicted: { latencyMicros: 12_000, tokensPerSecond: 80 },
    reasons: [{ workerId: 'w3', isUsed: true, reason: 'Takes all layers.' }],
  };
  return {
    ...cluster,
    detail: '1 of 2 replicas are ready; replica 2: loading',
    replicas: [
      first,
      { ...first, replica: 2, isReady: false, detail: 'loading', epoch: null, plan: second, running: 0 },
    ],
    workers: cluster.workers.map((worker) =>
      worker.workerId === 'w3'
        ? { ...worker, replica: 2, layers: [0, 7] as const, state: 'loading' }
        : worker,
    ),
  };
}
