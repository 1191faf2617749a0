import { setTimeout } from 'node:timers/promises';
import { limits, systemClock } from '@butterfly/common';
import type { LoadPattern } from './plan.js';

export interface LoadTestOptions {
  readonly requests: number;
  readonly pattern: LoadPattern;
  /**
   * Sends the request with this number, from 0, and records what comes of it; it throws nothing.
   * @param startMs when it was to be sent, of `systemClock`
   */
  readonly send: (index: number, startMs: number) => Promise<void>;
  /** No request is begun after it. */
  readonly signal: AbortSignal;
}

/** Sends all requests in their order, and ends when the last of them has. */
export async function runLoadTest(options: LoadTestOptions): Promise<void> {
  const { pattern } = options;
  switch (pattern.kind) {
    case 'concurrency':
      return sendInStreams(options, pattern.streams);
    case 'rate':
      return sendAtTimes(options, pattern.arrivalsMs);
    default:
      pattern satisfies never;
  }
}

async function sendInStreams({ requests, send, signal }: LoadTestOptions, streams: number): Promise<void> {
  let next = 0;
  const stream = async (): Promise<void> => {
    while (next < requests && !signal.aborted) await send(next++, systemClock.nowMs());
  };
  await Promise.all(Array.from({ length: streams }, stream));
}

async function sendAtTimes(
  { requests, send, signal }: LoadTestOptions,
  arrivalsMs: readonly number[],
): Promise<void> {
  const startMs = systemClock.nowMs();
  const underWay = new Set<Promise<void>>();
  for (let index = 0; index < requests; index++) {
    const dueMs = startMs + (arrivalsMs[index] ?? 0);
    const waitMs = dueMs - systemClock.nowMs();
    if (waitMs > 0) await setTimeout(waitMs, undefined, { signal }).catch(() => undefined);
    while (underWay.size >= limits.loadTestInFlightMax) await Promise.race(underWay);
    if (signal.aborted) break;
    const sent: Promise<void> = send(index, dueMs).finally(() => underWay.delete(sent));
    underWay.add(sent);
  }
  await Promise.all(underWay);
}
