import type { Clock, Observer } from '@butterfly/common';
import type { RequestTimeline } from '../view/request-view.js';

/** What traces are made of. */
export interface TracedServer {
  /** What became of a request; null for one that is not remembered. */
  timeline(requestId: string): RequestTimeline | null;
  /** Hears whether they are taken. */
  readonly observe: Observer;
}

export interface TracesWishes {
  /** Where they are sent to, whole: a URL that takes OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`. */
  readonly endpoint: string;
  /** Of Butterfly. */
  readonly version: string;
  readonly clock: Clock;
  /** For how long they are gathered, and for sending them with all attempts; by default as in `deadlines`. */
  readonly gatheredMs?: number;
  readonly sendMs?: number;
}

/** Sends a trace of each request when it is over. Nothing here fails a request, or has it wait. */
export interface Traces {
  /** Hears what happens. */
  readonly observe: Observer;
  /** From now on requests that are over are told of. */
  watch(server: TracedServer): void;
  /** Sends what waits, as far as `deadlines.tracesSendMs` allows. */
  close(): Promise<void>;
}
