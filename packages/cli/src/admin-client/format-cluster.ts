import { formatBytes, formatMicros, formatRate, printableLine } from '@butterfly/common';
import type { ClusterDescription, ReplicaDescription, WorkerDescription } from '@butterfly/orchestrator';
import { type Plan, objectiveInWords } from '@butterfly/planning';
import { formatTable } from '../table.js';

/** A cluster in words and tables for a terminal. */
export function formatCluster(cluster: ClusterDescription): string {
  const { model, isReady, detail, epoch, replicas, trouble, notes, workers } = cluster;
  const isReplicated = replicas.length > 1;
  const during = epoch === null || isReplicated ? '' : ` (epoch ${epoch})`;
  const said = [
    `${model ? `${model.id}, ${model.layers} layers: ` : ''}${isReady ? 'ready' : 'not ready'}. ${detail}${during}`,
    ...(trouble ? [`Trouble: ${trouble.code}: ${trouble.message}`] : []),
    ...notes.map((note) => `Note: ${note}`),
  ];
  const lines = [
    ...said.map(printableLine),
    ...(isReplicated ? [formatReplicas(replicas)] : []),
    ...formatSpeed(cluster),
    ...replicas.flatMap((replica) => formatVerification(replica, isReplicated)),
  ];
  const heads = [
    'worker',
    'id',
    'state',
    'layers',
    'per token',
    'computes on',
    'memory',
    'weights from',
    'why',
  ];
  const rows = [...workers]
    .sort(byPlace)
    .map((worker) => [
      ...(isReplicated ? [String(worker.replica ?? '-')] : []),
      worker.name,
      worker.workerId,
      stateOf(worker),
      worker.layers ? worker.layers.join('-') : '-',
      timeOf(worker, cluster),
      computesOn(worker),
      memoryOf(worker, cluster),
      weightsFrom(worker),
      reasonOf(worker, cluster),
    ]);
  const table =
    workers.length === 0
      ? 'No worker has joined.\n'
      : formatTable([isReplicated ? ['replica', ...heads] : heads, ...rows]);
  return `${lines.join('\n')}\n\n${table}`;
}

function computesOn({ device, threads, host }: WorkerDescription): string {
  const onThreads = `${threads} thread${threads === 1 ? '' : 's'}`;
  if (device.kind === 'cpu') return onThreads;
  const layers = host?.expertLayers ?? 0;
  const beside = `; experts of ${layers} layer${layers === 1 ? '' : 's'} on ${onThreads}`;
  return `${device.name} (${device.description})${layers === 0 ? '' : beside}`;
}

/** What it takes of what it offers: of a process as it said, of a card and of the host beside it as planned. */
function memoryOf(worker: WorkerDescription, cluster: ClusterDescription): string {
  const { device, residentBytes, memoryBytes, host } = worker;
  const part = (bytes: number | undefined | null, of: number): string =>
    bytes === undefined || bytes === null ? formatBytes(of) : `${formatBytes(bytes)} of ${formatBytes(of)}`;
  if (device.kind === 'cpu' || !host) return part(residentBytes, memoryBytes);
  const onCard = part(stageOf(worker, cluster)?.bytes, memoryBytes);
  return host.plannedBytes === 0
    ? onCard
    : `${onCard}, ${part(host.plannedBytes, host.memoryBytes)} beside it`;
}

function planFor({ replica }: WorkerDescription, { plan, replicas }: ClusterDescription): Plan | null {
  return replicas.length > 1 ? (replicas.find((each) => each.replica === replica)?.plan ?? null) : plan;
}

function stageOf(worker: WorkerDescription, cluster: ClusterDescription): Plan['stages'][number] | undefined {
  return planFor(worker, cluster)?.stages.find(({ workerId }) => workerId === worker.workerId);
}

function reasonOf(worker: WorkerDescription, cluster: ClusterDescription): string {
  const reasons = planFor(worker, cluster)?.reasons ?? [];
  return reasons.find((each) => each.workerId === worker.workerId)?.reason ?? '';
}

/** What a token takes in its stage, as measured, and how far that is from what was predicted. */
function timeOf(worker: WorkerDescription, cluster: ClusterDescription): string {
  const { stepMicros } = worker;
  const stage = stageOf(worker, cluster);
  if (!stage || stepMicros === null) return '-';
  const percent = Math.round((stepMicros / stage.decodeMicros - 1) * 100);
  return `${formatMicros(stepMicros)} (${percent < 0 ? '' : '+'}${percent}%)`;
}

function plansOf({ plan, replicas }: ClusterDescription): readonly Plan[] {
  return replicas.length > 1 ? replicas.flatMap((each) => each.plan ?? []) : plan ? [plan] : [];
}

function formatReplicas(replicas: readonly ReplicaDescription[]): string {
  const rows = replicas.map(({ replica, detail, epoch, plan, running, queued }) => [
    String(replica),
    detail,
    epoch === null ? '-' : String(epoch),
    plan ? String(plan.stages.length) : '-',
    plan ? formatRate(plan.predicted.tokensPerSecond) : '-',
    String(running),
    String(queued),
  ]);
  return formatTable([
    ['replica', 'state', 'epoch', 'stages', 'predicted', 'running', 'queued'],
    ...rows,
  ]).trimEnd();
}

/** What spare workers computed a second time. */
function formatVerification({ replica, verification }: ReplicaDescription, isReplicated: boolean): string[] {
  if (!verification) return [];
  const { rate, stages, sequences, steps, rows, abandoned, differenceMax } = verification;
  const of = isReplicated ? ` of replica ${replica}` : '';
  const able =
    stages.length === 0
      ? 'no spare worker holds layers of the plan, so nothing is'
      : `stage${stages.length === 1 ? '' : 's'} ${stages.map((stage) => stage + 1).join(', ')} may be`;
  const found = `${sequences} requests were (${steps} steps, ${rows} rows; ${abandoned} not to their end); rows differ by at most ${differenceMax.toPrecision(2)}`;
  return [`Verified${of}: ${able} computed twice, for ${rate * 100}% of the requests. ${found}.`];
}

/** Predicted beside measured, as lines. Of several replicas a single stream may meet the slowest. */
function formatSpeed(cluster: ClusterDescription): string[] {
  const { measured } = cluster;
  const plans = plansOf(cluster);
  const [plan] = plans;
  if (!plan) return [];
  const sum = (of: (plan: Plan) => number): number => plans.reduce((total, each) => total + of(each), 0);
  const rows = [
    ['', 'per token of one stream', 'together', 'streams'],
    [
      'predicted',
      formatMicros(Math.max(...plans.map(({ predicted }) => predicted.latencyMicros))),
      formatRate(sum(({ predicted }) => predicted.tokensPerSecond)),
      String(sum(({ concurrency }) => concurrency)),
    ],
    ...(measured
      ? [
          [
            'measured',
            formatMicros(measured.microsPerToken),
            formatRate(measured.tokensPerSecond),
            measured.concurrency.toFixed(1),
          ],
        ]
      : []),
  ];
  const stages = sum((each) => each.stages.length);
  const count = `${stages} stage${stages === 1 ? '' : 's'}${plans.length === 1 ? '' : ` in ${plans.length} replicas`}`;
  return [
    `Plan for ${printableLine(objectiveInWords(plan.objective))}: ${count}, cache ${plan.cacheType}.`,
    formatTable(rows).trimEnd(),
    measured
      ? `Measured over the last ${(measured.windowMs / 1000).toFixed(0)} s. The prediction for one stream is of one that runs alone.`
      : 'Nothing was generated within the last minute, so nothing is measured.',
  ];
}

function stateOf({ state, loading }: WorkerDescription): string {
  if (!loading || loading.totalBytes === 0) return state;
  return `${state} ${Math.floor((loading.loadedBytes / loading.totalBytes) * 100)}%`;
}

function weightsFrom({ loaded }: WorkerDescription): string {
  if (!loaded) return '-';
  const sources: readonly (readonly [string, number])[] = [
    ['file', loaded.fileBytes],
    ['cache', loaded.cacheBytes],
    ['peers', loaded.peerBytes],
    ['orchestrator', loaded.orchestratorBytes],
  ];
  const parts = sources
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  return parts.join(', ') || '-';
}

/** In the order of the pipelines; those without layers last. */
function byPlace(a: WorkerDescription, b: WorkerDescription): number {
  const place = ({ replica }: WorkerDescription): number => replica ?? Infinity;
  const first = ({ layers }: WorkerDescription): number => layers?.[0] ?? Infinity;
  const compare = (left: number, right: number): number => (left === right ? 0 : left - right);
  return compare(place(a), place(b)) || compare(first(a), first(b)) || a.name.localeCompare(b.name);
}
