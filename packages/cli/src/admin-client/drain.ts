import { setTimeout as sleep } from 'node:timers/promises';
import { ButterflyError, type Clock } from '@butterfly/common';
import type { ClusterDescription } from '@butterfly/orchestrator';

export interface DrainOptions {
  readonly name: string;
  readonly timeoutMs: number;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** Told what the cluster is like each time that it was asked. */
  readonly onLook?: (cluster: ClusterDescription) => void;
  readonly pollMs?: number;
}

/** What draining needs of a server. */
export interface Drainable {
  describe(): Promise<ClusterDescription>;
  drain(name: string): Promise<string>;
}

/** A worker that lost its link dials again after five seconds at most: one that takes longer is not expected back. */
const returnMs = 15_000;

/**
 * Empties a worker and waits until it was sent away.
 * @throws ButterflyError TIMEOUT; WORKER_LOST when it was lost before it was empty, or is not being emptied any more; and
 * as `Drainable`
 */
export async function drainWorker(server: Drainable, options: DrainOptions): Promise<void> {
  const { name, timeoutMs, clock, onLook, pollMs = 500 } = options;
  const endMs = clock.nowMs() + timeoutMs;
  const workerId = await server.drain(name);
  let lostMs: number | null = null;
  for (;;) {
    const cluster = await server.describe();
    onLook?.(cluster);
    const state = cluster.drains.find((each) => each.workerId === workerId)?.state;
    if (state === 'gone') return;
    const why = cluster.trouble ? ` (${cluster.trouble.message})` : '';
    const nowMs = clock.nowMs();
    if (state !== 'draining' && state !== 'lost')
      throw new ButterflyError(
        'WORKER_LOST',
        `${name} is not being emptied any more${why}; look at the server's log.`,
      );
    lostMs = state === 'lost' ? (lostMs ?? nowMs) : null;
    if (lostMs !== null && (nowMs - lostMs >= returnMs || nowMs >= endMs))
      throw new ButterflyError(
        'WORKER_LOST',
        `${name} was lost before it was empty${why}, and others take its layers; should it come back within ten minutes, it is emptied and sent away.`,
      );
    if (nowMs >= endMs)
      throw new ButterflyError(
        'TIMEOUT',
        `${name} is not empty after ${timeoutMs / 1000} s${why}; it goes on, see "butterfly status", or wait longer with --timeout.`,
      );
    await sleep(pollMs);
  }
}
