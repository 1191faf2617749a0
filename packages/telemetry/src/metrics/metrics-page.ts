import type { Clock, Observer } from '@butterfly/common';
import type { MeasuredServer } from './state-metrics.js';

/** What a scraper is answered. */
export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

export interface MetricsWishes {
  /** Of Butterfly. */
  readonly version: string;
  readonly clock: Clock;
  /** Whether the process itself is measured too, which goes on until it ends: its memory, event loop and garbage collector. */
  readonly isOfProcess: boolean;
}

/** What is counted of a server since it began, and how it stands. */
export interface Metrics {
  /** Counts what happens. */
  readonly observe: Observer;
  /** From now on pages tell how this server stands, too. */
  watch(server: MeasuredServer): void;
  /** The certificate of its API ends then, in milliseconds since 1970. */
  certificateEnds(atMs: number): void;
  /** @param accept what the scraper takes, as its header says: the text format of Prometheus, unless it takes that of OpenMetrics */
  page(accept?: string): Promise<MetricsPage>;
}
