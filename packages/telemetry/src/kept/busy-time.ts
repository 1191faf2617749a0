import type { EventOf } from '@butterfly/common';
import type { PlanInForce } from './plans-in-force.js';

/** How long each worker computed since it was last asked. */
export class BusyTime {
  #micros = new Map<string, number>();

  add({ stageTimes }: EventOf<'stepDone'>, plan: PlanInForce | null): void {
    for (const [index, { computeMicros }] of stageTimes.entries()) {
      const workerId = plan?.stages[index]?.workerId;
      if (workerId !== undefined)
        this.#micros.set(workerId, (this.#micros.get(workerId) ?? 0) + computeMicros);
    }
  }

  /** By worker, the share of an interval, which begins anew. Measured at the end of steps, so at most 1 on average alone. */
  takeShares(lengthMs: number): Record<string, number> {
    const shares = [...this.#micros].map(
      ([id, micros]) => [id, Math.min(1, micros / 1000 / lengthMs)] as const,
    );
    this.#micros = new Map();
    return Object.fromEntries(shares);
  }
}
