import { formatBytes, formatMicros } from '@butterfly/common';
import { formatTable } from '../table.js';
import type { ShownCluster, ShownMessage, ShownPulse, ShownRequest } from './live-schema.js';

/** What is known of a cluster that is followed. Plain, and never changed. */
export interface TopState {
  readonly cluster: ShownCluster | null;
  readonly pulse: ShownPulse | null;
  /** When the last pulse came, by the clock of this machine; null before the first. */
  readonly heardMs: number | null;
  /** By id, the newest last. */
  readonly requests: ReadonlyMap<string, ShownRequest>;
}

export const emptyTop: TopState = Object.freeze({
  cluster: null,
  pulse: null,
  heardMs: null,
  requests: new Map(),
});

const requestsKeptMax = 200;
/** Without a pulse for so long, what is shown may not be so any more. */
const silenceMs = 5_000;

/** What is known after one more message. */
export function nextTop(state: TopState, message: ShownMessage, nowMs: number): TopState {
  switch (message.kind) {
    case 'cluster': {
      const isRestarted = state.cluster !== null && state.cluster.startedMs !== message.cluster.startedMs;
      return { ...(isRestarted ? emptyTop : state), cluster: message.cluster };
    }
    case 'pulse':
      return { ...state, pulse: message.pulse, heardMs: nowMs };
    case 'requests': {
      const all = new Map(state.requests);
      for (const request of message.requests) {
        all.delete(request.id);
        all.set(request.id, request);
      }
      return { ...state, requests: new Map([...all].slice(-requestsKeptMax)) };
    }
    case 'events':
      return state;
    default:
      return message satisfies never;
  }
}

/** @param lines of the terminal, which cut the list of requests */
export function formatTop(state: TopState, nowMs: number, lines: number): string {
  const { cluster } = state;
  if (!cluster) return 'Waiting for the server ...\n';
  const silentMs = nowMs - (state.heardMs ?? nowMs);
  const head =
    silentMs > silenceMs
      ? `No sign of life for ${Math.round(silentMs / 1000)} s; what follows may be out of date.\n`
      : `Butterfly ${cluster.version}, up ${age(nowMs - cluster.startedMs)}: ${cluster.isReady ? 'ready' : 'not ready'}. ${cluster.detail}\n`;
  const above = `${head}\n${formatModels(state)}\n${formatStages(state, cluster)}\n`;
  const left = Math.max(3, lines - above.split('\n').length - 1);
  return above + formatRequests(state, nowMs, left);
}

function formatModels({ cluster, pulse }: TopState): string {
  const perSecond = (count: number): string => ((count * 1000) / (pulse?.lengthMs ?? 1)).toFixed(1);
  const rows = (cluster?.models ?? []).map(({ id, state }) => {
    const beat = pulse?.models.find((each) => each.id === id);
    if (!beat) return [id, state, '-', '-', '-', '-', '-'];
    return [
      ...[id, state, perSecond(beat.outputTokens), perSecond(beat.steps)],
      ...[beat.steps === 0 ? '-' : (beat.rows / beat.steps).toFixed(1)],
      ...[String(beat.running), String(beat.queued)],
    ];
  });
  return formatTable([['model', 'state', 'tokens/s', 'steps/s', 'rows/step', 'running', 'queued'], ...rows]);
}

const barCells = 10;

function formatStages({ pulse }: TopState, { models, workers }: ShownCluster): string {
  const rows = models.flatMap(({ id, workers: placed }) => {
    const busy = pulse?.models.find((each) => each.id === id)?.busyShares ?? {};
    return [...placed]
      .sort((a, b) => (a.layers?.[0] ?? Infinity) - (b.layers?.[0] ?? Infinity))
      .map(({ workerId, layers, replica, state, stepMicros, residentBytes }) => {
        const worker = workers.find((each) => each.workerId === workerId);
        const share = busy[workerId] ?? 0;
        const filled = '#'.repeat(Math.round(share * barCells)).padEnd(barCells, '.');
        return [
          ...[id, replica === null ? '-' : String(replica), worker?.name ?? workerId, state],
          ...[layers ? layers.join('-') : '-', `${filled} ${Math.round(share * 100)}%`],
          stepMicros === null ? '-' : formatMicros(stepMicros),
          `${residentBytes === null ? '-' : formatBytes(residentBytes)} of ${formatBytes(worker?.memoryBytes ?? 0)}`,
        ];
      });
  });
  const heads = ['model', 'replica', 'worker', 'state', 'layers', 'busy', 'step', 'memory'];
  return rows.length === 0 ? 'No worker has joined.\n' : formatTable([heads, ...rows]);
}

function formatRequests({ requests }: TopState, nowMs: number, lines: number): string {
  const all = [...requests.values()];
  const open = all.filter(({ endedMs }) => endedMs === null);
  const over = all.filter(({ endedMs }) => endedMs !== null).reverse();
  const shown = [...open, ...over].slice(0, lines - 1);
  if (shown.length === 0) return 'No request has come.\n';
  const rows = shown.map((each) => [
    ...[each.id.slice(0, 12), each.modelId ?? '-', each.error?.code ?? each.state],
    ...[each.promptTokens, each.cachedTokens, each.outputTokens].map(String),
    each.firstTokenMs === null ? '-' : formatMicros(each.firstTokenMs * 1000),
    ...[each.tokensPerSecond?.toFixed(1) ?? '-', String(each.replays)],
    age((each.endedMs ?? nowMs) - each.startedMs),
  ]);
  const heads = ['request', 'model', 'state', 'prompt', 'cached', 'output'];
  return formatTable([[...heads, 'first token', 'tokens/s', 'replays', 'took'], ...rows]);
}

function age(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
