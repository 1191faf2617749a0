import type { TenantShares } from './tenant-shares.js';
import { precedes, type Ranked, WaitingQueue } from './waiting-queue.js';

/** What waits on behalf of somebody. */
export interface Waiting extends Ranked {
  readonly tenant: string;
  /** The lower, the earlier. */
  readonly priority: number;
}

/** What a step of `priority` counts between tenants: so many tokens given to one more than to the other. */
const priorityStepTokens = 1_000;

/**
 * Those that wait, of each tenant in order of rank. Next is the first of the tenant that was given least, so that who has
 * many waiting keeps nobody else from his turn; a single tenant has the order of ranks alone.
 */
export class FairQueue<T extends Waiting> {
  readonly #queues = new Map<string, WaitingQueue<T>>();
  #size = 0;

  constructor(private readonly shares: TenantShares) {}

  get size(): number {
    return this.#size;
  }

  /** Who is next; that changes as tenants are given tokens. */
  get head(): T | undefined {
    let next: T | undefined;
    let least = Infinity;
    for (const [tenant, { head }] of this.#queues) {
      if (head === undefined) continue;
      const turn = this.shares.given(tenant) + head.priority * priorityStepTokens;
      if (next !== undefined && (turn > least || (turn === least && precedes(next, head)))) continue;
      [next, least] = [head, turn];
    }
    return next;
  }

  /** How many of a tenant wait. */
  sizeOf(tenant: string): number {
    return this.#queues.get(tenant)?.size ?? 0;
  }

  has(item: T): boolean {
    return this.#queues.get(item.tenant)?.has(item) ?? false;
  }

  add(item: T): void {
    const queue = this.#queues.get(item.tenant) ?? new WaitingQueue<T>();
    this.#queues.set(item.tenant, queue);
    queue.add(item);
    this.#size += 1;
    this.shares.waits(item.tenant);
  }

  /** False when it does not wait. */
  delete(item: T): boolean {
    const queue = this.#queues.get(item.tenant);
    if (!queue?.delete(item)) return false;
    if (queue.size === 0) this.#queues.delete(item.tenant);
    this.#size -= 1;
    this.shares.left(item.tenant);
    return true;
  }
}
