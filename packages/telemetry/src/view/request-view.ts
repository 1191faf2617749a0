/** How far a request is. `waiting` for its model or constraint, `queued` for a place in the cache. */
export type RequestState =
  'waiting' | 'queued' | 'prefill' | 'decode' | 'recovering' | 'done' | 'cancelled' | 'failed';

/** A request as a list shows it; the same fields while it runs and when it is over. */
export interface RequestView {
  /** As in `x-request-id`. */
  readonly id: string;
  /** Such as `POST /v1/chat/completions`. */
  readonly route: string;
  /** Null until it is known, and for one that was refused before. */
  readonly modelId: string | null;
  /** Whose key it came with; null without one. */
  readonly tenant: string | null;
  readonly state: RequestState;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  /** The same; null while it runs. */
  readonly endedMs: number | null;
  readonly promptTokens: number;
  /** Of these, those that were found in the cache. */
  readonly cachedTokens: number;
  readonly outputTokens: number;
  /** Time to first token from its arrival; null before that. */
  readonly firstTokenMs: number | null;
  /** Of decode, from the first token on; null where there were not two. */
  readonly tokensPerSecond: number | null;
  /** How often it began again from its known tokens, after a worker was lost. */
  readonly replays: number;
  /** Answers that it has side by side. */
  readonly sequences: number;
  /** Why it failed, or was refused. */
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** What a stage computed in a span. */
export interface SpanStage {
  readonly workerId: string;
  readonly name: string;
  /** Both included. */
  readonly layers: readonly [first: number, last: number];
  /** Sums over the steps of the span, which other requests may have shared. */
  readonly computeMs: number;
  /** Of the worker's own code around it. */
  readonly hostMs: number;
}

/**
 * A part of a request's life. `queue` for a place in the cache; `prefill` a chunk of its prompt, `replay` the same of what was known
 * already; `decode` tokens of its answer in a row; `recovery` from a loss until it goes on; `pushedOut` while others need its place.
 */
export interface RequestSpan {
  readonly kind: 'queue' | 'prefill' | 'replay' | 'decode' | 'recovery' | 'pushedOut';
  /** Of the answers side by side, from 0. */
  readonly sequence: number;
  /** From the request's arrival. */
  readonly startMs: number;
  /** The same; null while it goes on. */
  readonly endMs: number | null;
  /** That were computed in it. */
  readonly tokens: number;
  readonly steps: number;
  /** Of the plan in force; null where nothing is computed. */
  readonly epoch: number | null;
  /** From 1. */
  readonly replica: number | null;
  readonly stages: readonly SpanStage[];
  /** Such as why it had to recover. */
  readonly words: string | null;
}

/** One request opened. */
export interface RequestTimeline extends RequestView {
  /** In order of their start; older ones of one kind are joined where there would be too many. */
  readonly spans: readonly RequestSpan[];
}
