import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import type { RequestView } from './request-view.js';

/** A line of what happened, as the log has it. */
export interface EventView {
  /** Grows by 1 from event to event, from 1 at the start of the server. */
  readonly index: number;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Stable name of the kind, such as `workerLeft`. */
  readonly kind: string;
  readonly words: string;
  /** Null for what is not of one model. */
  readonly modelId: string | null;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A few values of a distribution; null where nothing was measured. */
export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** What happened within one interval of the last hour. */
export interface SeriesBucket {
  /** When it began, in milliseconds since 1970. */
  readonly atMs: number;
  readonly lengthMs: number;
  /** Tokens of prompts that were computed, and those that were found in the cache. */
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly requestsStarted: number;
  readonly requestsEnded: number;
  readonly requestsFailed: number;
  readonly replays: number;
  readonly steps: number;
  /** Of all steps. */
  readonly rows: number;
  /** In milliseconds: from arrival to first token, between two tokens of one answer, and of a whole request. */
  readonly firstTokenMs: Percentiles | null;
  readonly tokenMs: Percentiles | null;
  readonly requestMs: Percentiles | null;
  /** At its end. */
  readonly running: number;
  readonly queued: number;
  /** Share of the slots of all arenas that is in use, at its end. */
  readonly arenaShare: number;
  /** By worker id, the share of the interval that it computed; those alone that did. */
  readonly busyShares: Readonly<Record<string, number>>;
}

/** A model as the page shows it: whether it is loaded, and if so on whom. */
export interface ModelGlance {
  readonly id: string;
  readonly aliases: readonly string[];
  readonly state: string;
  readonly contextTokens: number;
  readonly loadedBytes: number;
  /** Plan, replicas and workers as this model has them; null while it is not loaded. */
  readonly cluster: Omit<ClusterDescription, 'workers'> | null;
  /** What of its workers is this model's. */
  readonly workers: readonly Pick<
    WorkerDescription,
    'workerId' | 'state' | 'replica' | 'layers' | 'stepMicros' | 'residentBytes' | 'loading'
  >[];
}

/** The whole cluster at a moment, without what only planners need. */
export interface ClusterGlance {
  /** Of the server: another one means that it was started again. */
  readonly startedMs: number;
  readonly version: string;
  readonly isReady: boolean;
  readonly detail: string;
  readonly workers: readonly Omit<
    WorkerDescription,
    'profile' | 'loaded' | 'state' | 'replica' | 'layers' | 'stepMicros' | 'loading'
  >[];
  readonly models: readonly ModelGlance[];
}

/** A sign of life, twice a second. */
export interface Pulse {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** Since the last one. */
  readonly lengthMs: number;
  /** Of each loaded model since the last pulse. */
  readonly models: readonly {
    readonly id: string;
    readonly running: number;
    readonly queued: number;
    readonly steps: number;
    readonly rows: number;
    readonly outputTokens: number;
    /** By worker id, the share of the time since that it computed. */
    readonly busyShares: Readonly<Record<string, number>>;
  }[];
}

/**
 * What `GET /cluster/live` tells, as server-sent events named after `kind`, with the rest as data. It begins with `cluster`, `requests`
 * (the last ones), `events` (the last ones) and `series` (the last hour); then come changes. Without a pulse for five seconds nothing
 * that was told is to be trusted.
 */
export type LiveMessage =
  | { readonly kind: 'cluster'; readonly cluster: ClusterGlance }
  /** Those that changed, whole; the newest last. */
  | { readonly kind: 'requests'; readonly requests: readonly RequestView[] }
  | { readonly kind: 'events'; readonly events: readonly EventView[] }
  /** Buckets that are complete, the newest last. */
  | { readonly kind: 'series'; readonly buckets: readonly SeriesBucket[] }
  | { readonly kind: 'pulse'; readonly pulse: Pulse };

/** What `POST /cluster/join-lines` answers: how the next machine joins. */
export interface JoinLine {
  /** The whole command. */
  readonly line: string;
  /** Milliseconds since 1970 until which it may be used; null for ever. */
  readonly expiresMs: number | null;
  /** How many machines may join with it; null for any number. */
  readonly usesMax: number | null;
}
