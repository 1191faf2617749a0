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

/**
 * Empties a worker and waits until it is gone.
 * @throws ButterflyError TIMEOUT; WORKER_LOST when it is not being emptied any more; and as `Drainable`
 */
export async function drainWorker(server: Drainable, options: DrainOptions): Promise<void> {
  const { name, timeoutMs, clock, onLook, pollMs = 500 } = options;
  const endMs = clock.nowMs() + timeoutMs;
  const workerId = await server.drain(name);
  for (;;) {
    const cluster = await server.describe();
    onLook?.(cluster);
    const worker = cluster.workers.find((each) => each.workerId === workerId);
    if (!worker) return;
    const why = cluster.trouble ? ` (${cluster.trouble.message})` : '';
    if (worker.state !== 'draining')
      throw new ButterflyError(
        'WORKER_LOST',
        `${name} is not being emptied any more${why}; look at the server's log.`,
      );
    if (clock.nowMs() >= endMs)
      throw new ButterflyError(
        'TIMEOUT',
        `${name} is not empty after ${timeoutMs / 1000} s${why}; it goes on, see "butterfly status", or wait longer with --timeout.`,
      );
    await sleep(pollMs);
  }
}
