import type {
  ClusterGlance,
  EventView,
  ModelGlance,
  Pulse,
  RequestState,
  RequestTimeline,
  RequestView,
  SeriesBucket,
} from '@butterfly/telemetry';

type Worker = ClusterGlance['workers'][number];
type Replica = NonNullable<ModelGlance['cluster']>['replicas'][number];
type Plan = NonNullable<Replica['plan']>;

const startMs = Date.UTC(2026, 0, 1, 12);
const layers = 80;

const workerId = (index: number): string => `w${index}`;

function worker(index: number, next: number | null): Worker {
  const isCard = index % 3 === 0;
  return {
    workerId: workerId(index),
    name: `machine-${index}`,
    version: '0.1.0',
    kernels: 'haswell on linux x64',
    device: isCard
      ? { name: 'Vulkan0', kind: 'gpu', description: 'A card with 24 GiB' }
      : { name: 'haswell', kind: 'cpu', description: 'haswell' },
    threads: 8,
    memoryBytes: 16 * 2 ** 30,
    residentBytes: index % 2 === 0 ? 9 * 2 ** 30 : null,
    host: isCard ? { memoryBytes: 8e9, plannedBytes: 1e9, expertLayers: 0 } : null,
    links: [
      { toWorkerId: null, latencyMicros: 180, bytesPerSecond: 1.1e8, isRelayed: false },
      ...(next === null
        ? []
        : [
            {
              toWorkerId: workerId(next),
              latencyMicros: 95.5,
              bytesPerSecond: 1.2e8,
              isRelayed: index % 7 === 3,
            },
          ]),
    ],
  };
}

function planOf(count: number): Plan {
  const share = layers / count;
  return {
    objective: 'throughput',
    concurrency: 32,
    cacheType: 'f16',
    predicted: { latencyMicros: 81_000, tokensPerSecond: 212.4 },
    stages: Array.from({ length: count }, (_, index) => ({
      workerId: workerId(index),
      layerStart: Math.round(index * share),
      layerEnd: Math.round((index + 1) * share),
      bytes: 9 * 2 ** 30,
      decodeMicros: 900,
      microsPerToken: index === 1 ? 500 : 400,
      isRelayed: index % 7 === 4,
    })),
    reasons: Array.from({ length: count + 1 }, (_, index) => ({
      workerId: workerId(index),
      isUsed: index < count,
      reason: index < count ? 'Without it: 180 tokens/s.' : 'With it a token would take 4 ms longer.',
    })),
  };
}

/** A cluster whose first model has so many stages; the other workers are spare, joining, draining and so on. */
export function glanceOf(workers: number, stages: number, startedMs = startMs): ClusterGlance {
  const plan = planOf(stages);
  const others = ['spare', 'measuring', 'loading', 'draining', 'leftOut', 'idle'] as const;
  const replica: Replica = {
    replica: 1,
    isReady: true,
    detail: 'All layers are live.',
    epoch: 7,
    plan,
    running: 3,
    queued: 1,
    verification: null,
  };
  const shares = Array.from({ length: workers }, (_, index): ModelGlance['workers'][number] => {
    const state = index < stages ? 'serving' : (others[(index - stages) % others.length] ?? 'idle');
    const stage = plan.stages[index];
    return {
      workerId: workerId(index),
      state,
      replica: 1,
      layers: stage ? [stage.layerStart, stage.layerEnd - 1] : null,
      stepMicros: stage ? 1_000 + index * 20 : null,
      residentBytes: stage ? 9 * 2 ** 30 : null,
      loading: state === 'loading' ? { loadedBytes: 3e9, totalBytes: 9e9 } : null,
    };
  });
  return {
    startedMs,
    version: '0.1.0',
    isReady: true,
    detail: 'All layers are live.',
    workers: Array.from({ length: workers }, (_, index) =>
      worker(index, index + 1 < stages ? index + 1 : null),
    ),
    models: [
      {
        ...{ id: 'large-70b', aliases: ['large'], state: 'loaded', contextTokens: 8192, loadedBytes: 4e10 },
        cluster: {
          model: { id: 'large-70b', layers, arenaSlots: 65_536 },
          ...{ isReady: true, detail: 'All layers are live.', epoch: 7, plan, replicas: [replica] },
          measured: { windowMs: 60_000, tokensPerSecond: 190.2, microsPerToken: 84_000, concurrency: 16 },
          ...{ workers: [], drains: [], trouble: null, notes: ['0 of 1 spares held.'] },
        },
        workers: shares,
      },
      {
        ...{ id: 'small-1b', aliases: [], state: 'unloaded', contextTokens: 4096, loadedBytes: 0 },
        ...{ cluster: null, workers: [] },
      },
    ],
  };
}

const states: readonly RequestState[] = [
  'decode',
  'queued',
  'done',
  'done',
  'failed',
  'cancelled',
  'prefill',
];

export function requestsOf(count: number, nowMs: number): RequestView[] {
  return Array.from({ length: count }, (_, index) => requestOf(index, count, nowMs));
}

function requestOf(index: number, count: number, nowMs: number): RequestView {
  const state = states[index % states.length] ?? 'done';
  const isOver = state === 'done' || state === 'failed' || state === 'cancelled';
  const startedMs = nowMs - (count - index) * 1_000;
  return {
    id: `req_${String(index).padStart(8, '0')}abcdef`,
    route: 'POST /v1/chat/completions',
    modelId: 'large-70b',
    tenant: index % 5 === 0 ? null : `team-${index % 5}`,
    state,
    startedMs,
    endedMs: isOver ? startedMs + 900 : null,
    ...{ promptTokens: 400, cachedTokens: index % 400, outputTokens: index % 300 },
    firstTokenMs: state === 'queued' ? null : 210,
    tokensPerSecond: state === 'queued' ? null : 11.5,
    replays: index % 10 === 0 ? 1 : 0,
    sequences: 1,
    error: state === 'failed' ? { code: 'TIMEOUT', message: 'It took too long.' } : null,
  };
}

/** A request that lost a worker in its midst. */
export function timelineOf(request: RequestView): RequestTimeline {
  const stages = (computeMs: number) =>
    ['machine-0', 'machine-1', 'machine-2'].map((name, index) => ({
      ...{ workerId: workerId(index), name, layers: [index * 10, index * 10 + 9] as const },
      ...{ computeMs: computeMs * (index + 1), hostMs: 1 },
    }));
  const span = { sequence: 0, tokens: 0, steps: 0, epoch: null, replica: null, stages: [], words: null };
  const computed = { ...span, epoch: 7, replica: 1 };
  return {
    ...request,
    spans: [
      { ...span, kind: 'queue', startMs: 0, endMs: 40 },
      { ...computed, kind: 'prefill', startMs: 40, endMs: 210, tokens: 400, steps: 1, stages: stages(28) },
      { ...computed, kind: 'decode', startMs: 210, endMs: 500, tokens: 30, steps: 30, stages: stages(30) },
      { ...span, kind: 'recovery', startMs: 500, endMs: 640, words: 'machine-1 was lost' },
      {
        ...computed,
        epoch: 8,
        kind: 'replay',
        startMs: 640,
        endMs: 700,
        tokens: 430,
        steps: 1,
        stages: stages(12),
      },
      {
        ...computed,
        epoch: 8,
        kind: 'decode',
        startMs: 700,
        endMs: 900,
        tokens: 20,
        steps: 20,
        stages: stages(25),
      },
    ],
  };
}

export function eventOf(index: number, atMs: number, event: Partial<EventView> = {}): EventView {
  return {
    ...{ index, atMs, level: 'info', kind: 'planLive', words: 'The plan is live.', modelId: 'large-70b' },
    fields: { epoch: index },
    ...event,
  };
}

export function bucketOf(atMs: number, index: number, workers: number): SeriesBucket {
  const wave = 1 + Math.sin(index / 20);
  const percentiles = (base: number) => ({ p50: base * wave, p95: base * 2 * wave, p99: base * 3 * wave });
  return {
    ...{ atMs, lengthMs: 5_000, promptTokens: 400 * wave, cachedTokens: 300, outputTokens: 900 * wave },
    ...{ requestsStarted: 5, requestsEnded: 5, requestsFailed: index % 50 === 0 ? 1 : 0, replays: 0 },
    ...{ steps: 50, rows: 400, firstTokenMs: percentiles(120), requestMs: percentiles(900) },
    tokenMs: index % 30 === 0 ? null : percentiles(40),
    ...{ running: 3, queued: index % 4, arenaShare: 0.4 * wave },
    busyShares: Object.fromEntries(
      Array.from({ length: workers }, (_, each) => [workerId(each), 0.3 + 0.1 * wave + each / 400]),
    ),
  };
}

export function pulseOf(atMs: number, stages: number): Pulse {
  const busyShares = Array.from({ length: stages }, (_, index) => [
    workerId(index),
    0.3 + ((index * 7) % 10) / 20,
  ]);
  return {
    atMs,
    lengthMs: 500,
    models: [
      {
        ...{ id: 'large-70b', running: 3, queued: 1, steps: 12, rows: 96, outputTokens: 96 },
        busyShares: Object.fromEntries(busyShares) as Record<string, number>,
      },
    ],
  };
}
