import { ButterflyError, limits } from '@butterfly/common';
import { nobody } from './tenant-shares.js';

/** What waits. */
interface Queue {
  readonly waiting: number;
  /** Known tokens of all that wait. */
  readonly waitingTokens: number;
  waitingOf(tenant: string): { readonly requests: number; readonly tokens: number };
}

interface Newcomer {
  readonly promptTokens: Int32Array;
  readonly tenant?: string | undefined;
}

/**
 * Of a tenant as much may wait as there is left for others: one alone has half of the queue, two have a third each, and
 * whoever comes next always finds a place. (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
 * Switches", 1998, with alpha 1.) Who names no tenant may fill it.
 * @throws ButterflyError QUEUE_FULL
 */
export function checkQueue(queue: Queue, { promptTokens: { length }, tenant = nobody }: Newcomer): void {
  const { waiting, waitingTokens } = queue;
  const [places, tokens] = [limits.queuedRequestsMax - waiting, limits.queuedTokensMax - waitingTokens];
  if (places < 1 || tokens < length)
    throw new ButterflyError('QUEUE_FULL', `${waiting} requests wait already; retry later.`);
  if (tenant === nobody) return;
  const own = queue.waitingOf(tenant);
  if (own.requests >= places || (own.tokens > 0 && own.tokens + length > tokens))
    throw new ButterflyError(
      'QUEUE_FULL',
      `${own.requests} requests with this key wait already, and the rest of the queue is for others; retry later.`,
    );
}
