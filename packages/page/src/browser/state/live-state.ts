import type {
  ClusterGlance,
  EventView,
  LiveMessage,
  Pulse,
  RequestState,
  RequestView,
  SeriesBucket,
} from '@butterfly/telemetry';
import { bounds, times } from './bounds.js';

/** What the server told, as far as the page keeps it. */
export interface LiveState {
  readonly cluster: ClusterGlance | null;
  /** The newest first. */
  readonly requests: readonly RequestView[];
  /** The newest last, as are buckets and pulses. */
  readonly events: readonly EventView[];
  readonly buckets: readonly SeriesBucket[];
  readonly pulses: readonly Pulse[];
  /** When the last sign of life came, by the clock of this machine; null before the first. */
  readonly lastPulseMs: number | null;
  /** What to add to the clock of this machine to have the server's. */
  readonly skewMs: number;
  /** What a new connection told before it told of which server; null once that is known. */
  readonly held: readonly LiveMessage[] | null;
}

export const emptyState: LiveState = {
  cluster: null,
  requests: [],
  events: [],
  buckets: [],
  pulses: [],
  lastPulseMs: null,
  skewMs: 0,
  held: null,
};

/** What is known when a connection was opened: it may lead to another server than the one before. Pure. */
export function afterOpening(state: LiveState): LiveState {
  return { ...state, held: [] };
}

/** What is known after a message. Pure. */
export function afterMessage(state: LiveState, message: LiveMessage, nowMs: number): LiveState {
  const { held } = state;
  if (held === null) return afterNews(state, message, nowMs);
  const isBegin = message.kind !== 'cluster' && message.kind !== 'pulse';
  if (isBegin) return { ...state, held: [...held, message] };
  // What was told before is of the server that is told of now.
  return held.reduce(
    (known, each) => afterNews(known, each, nowMs),
    afterNews({ ...state, held: null }, message, nowMs),
  );
}

function afterNews(state: LiveState, message: LiveMessage, nowMs: number): LiveState {
  switch (message.kind) {
    case 'cluster': {
      const isOther = state.cluster !== null && state.cluster.startedMs !== message.cluster.startedMs;
      // Another server numbers its events anew, and knows nothing of the requests of the one before.
      return { ...(isOther ? { ...emptyState, skewMs: state.skewMs } : state), cluster: message.cluster };
    }
    case 'requests':
      return { ...state, requests: mergedRequests(state.requests, message.requests) };
    case 'events':
      return {
        ...state,
        events: merged(state.events, message.events, ({ index }) => index).slice(-bounds.eventsMax),
      };
    case 'series':
      return {
        ...state,
        buckets: merged(state.buckets, message.buckets, ({ atMs }) => atMs).slice(-bounds.bucketsMax),
      };
    case 'pulse':
      return {
        ...state,
        pulses: [...state.pulses, message.pulse].slice(-bounds.pulsesMax),
        lastPulseMs: nowMs,
        skewMs: message.pulse.atMs - nowMs,
      };
    default:
      return message satisfies never;
  }
}

/** By a key that grows; of two with the same, the later one is told. */
function merged<T>(old: readonly T[], fresh: readonly T[], key: (item: T) => number): T[] {
  const all = new Map(old.map((item) => [key(item), item]));
  for (const item of fresh) all.set(key(item), item);
  return [...all.values()].sort((a, b) => key(a) - key(b));
}

function mergedRequests(old: readonly RequestView[], fresh: readonly RequestView[]): RequestView[] {
  const all = new Map(old.map((request) => [request.id, request]));
  for (const request of fresh) all.set(request.id, request);
  const sorted = [...all.values()].sort((a, b) => b.startedMs - a.startedMs);
  if (sorted.length <= bounds.requestsMax) return sorted;
  const running = sorted.filter(({ endedMs }) => endedMs === null).length;
  let endedLeft = Math.max(0, bounds.requestsMax - running);
  return sorted.filter(({ endedMs }) => endedMs === null || endedLeft-- > 0).slice(0, bounds.requestsMax);
}

/** Whether what is known may be out of date: nothing came yet, or not for too long. */
export function isLate({ lastPulseMs }: LiveState, nowMs: number): boolean {
  return lastPulseMs === null || nowMs - lastPulseMs > times.silenceMax;
}

/** What ran since the last pulses, of one model or of all. */
export interface Rates {
  readonly running: number;
  readonly queued: number;
  readonly stepsPerSecond: number;
  readonly rowsPerStep: number;
  readonly tokensPerSecond: number;
}

/** Over the last two seconds, so that numbers can be read. */
export function ratesOf(pulses: readonly Pulse[], modelId: string | null): Rates {
  const recent = pulses.slice(-5);
  const last = recent.at(-1);
  const seconds = last && recent[0] ? (last.atMs - recent[0].atMs) / 1_000 : 0;
  const isAsked = ({ id }: { readonly id: string }): boolean => modelId === null || id === modelId;
  // What the first of them told happened before the time that is looked at.
  const told = recent.slice(1).flatMap(({ models }) => models.filter(isAsked));
  const now = last?.models.filter(isAsked) ?? [];
  const sum = <T>(all: readonly T[], value: (each: T) => number): number =>
    all.reduce((total, each) => total + value(each), 0);
  const steps = sum(told, (each) => each.steps);
  return {
    running: sum(now, (each) => each.running),
    queued: sum(now, (each) => each.queued),
    stepsPerSecond: seconds > 0 ? steps / seconds : 0,
    rowsPerStep: steps > 0 ? sum(told, (each) => each.rows) / steps : 0,
    tokensPerSecond: seconds > 0 ? sum(told, (each) => each.outputTokens) / seconds : 0,
  };
}

/** By worker, the share of the time since the last pulse that it computed, for all models together. */
export function busySharesOf(pulse: Pulse | undefined): ReadonlyMap<string, number> {
  const shares = new Map<string, number>();
  for (const { busyShares } of pulse?.models ?? [])
    for (const [workerId, share] of Object.entries(busyShares))
      shares.set(workerId, Math.min(1, (shares.get(workerId) ?? 0) + share));
  return shares;
}

/** Which of the three groups of the list a request is in. */
export type RequestGroup = 'queued' | 'running' | 'ended';

export function groupOf(state: RequestState): RequestGroup {
  switch (state) {
    case 'waiting':
    case 'queued':
      return 'queued';
    case 'prefill':
    case 'decode':
    case 'recovering':
      return 'running';
    case 'done':
    case 'cancelled':
    case 'failed':
      return 'ended';
    default:
      return state satisfies never;
  }
}
