import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import { formatBytes, formatMicros, formatTable } from '../units.js';

/** A cluster in words and tables for a terminal. */
export function formatCluster(cluster: ClusterDescription): string {
  const { model, isReady, detail, epoch, trouble, workers } = cluster;
  const lines = [
    `${model.id}, ${model.layers} layers: ${isReady ? 'ready' : 'not ready'}. ${detail}${epoch === null ? '' : ` (epoch ${epoch})`}`,
    ...(trouble ? [`Trouble: ${trouble.code}: ${trouble.message}`] : []),
    ...formatSpeed(cluster),
  ];
  const heads = ['worker', 'id', 'state', 'layers', 'threads', 'memory', 'weights from', 'why'];
  const rows = [...workers]
    .sort(byLayers)
    .map((worker) => [
      worker.name,
      worker.workerId,
      stateOf(worker),
      worker.layers ? worker.layers.join('-') : '-',
      String(worker.threads),
      `${worker.residentBytes === null ? '' : `${formatBytes(worker.residentBytes)} of `}${formatBytes(worker.memoryBytes)}`,
      weightsFrom(worker),
      cluster.plan?.reasons.find(({ workerId }) => workerId === worker.workerId)?.reason ?? '',
    ]);
  const table = workers.length === 0 ? 'No worker has joined.\n' : formatTable([heads, ...rows]);
  return `${lines.join('\n')}\n\n${table}`;
}

/** Predicted beside measured, as lines. */
function formatSpeed({ plan, measured }: ClusterDescription): string[] {
  if (!plan) return [];
  const { predicted, objective, concurrency, stages, cacheType } = plan;
  const rows = [
    ['', 'per token of one stream', 'together', 'streams'],
    [
      'predicted',
      formatMicros(predicted.latencyMicros),
      `${predicted.tokensPerSecond.toFixed(1)} tokens/s`,
      String(concurrency),
    ],
    ...(measured
      ? [
          [
            'measured',
            formatMicros(measured.microsPerToken),
            `${measured.tokensPerSecond.toFixed(1)} tokens/s`,
            measured.concurrency.toFixed(1),
          ],
        ]
      : []),
  ];
  const count = `${stages.length} stage${stages.length === 1 ? '' : 's'}`;
  return [
    `Plan for ${objective}: ${count}, cache ${cacheType}.`,
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

/** In the order of the pipeline; those without layers last. */
function byLayers(a: WorkerDescription, b: WorkerDescription): number {
  return (a.layers?.[0] ?? Infinity) - (b.layers?.[0] ?? Infinity) || a.name.localeCompare(b.name);
}
