import type { ControllerConfig, Target } from './controller-types.js';
import type { Member, Members } from './members.js';
import type { Orders } from './orders.js';
import { spareShards } from './spare-shards.js';
import { uses } from './target.js';

/** Fewer spares than asked for. */
export interface SpareLack {
  /** For a person. */
  readonly words: string;
  /** Whether the others are being loaded. */
  readonly isPassing: boolean;
}

/** Second copies of shards, on workers that have nothing else to do. */
export class Spares {
  constructor(
    private readonly members: Members,
    private readonly orders: Orders,
    private readonly config: Pick<ControllerConfig, 'spares'>,
  ) {}

  /** Has idle workers hold as many as asked for, and let go of all else. */
  arrange(current: Target, nowMs: number): void {
    const idle = this.#idle(current, this.members.available(nowMs));
    const chosen = spareShards(current, idle, this.config.spares, this.members);
    for (const { workerId } of idle) {
      const spare = chosen.find((each) => each.workerId === workerId);
      this.orders.releaseAllBut(workerId, [spare ? (current.shardIds[spare.stageIndex] ?? null) : null]);
      if (spare) this.orders.load(workerId, current, spare.stageIndex);
    }
  }

  /** Why there are fewer than asked for; null where there are enough. */
  lack(current: Target): SpareLack | null {
    const { spares } = this.config;
    const idle = this.#idle(current, this.members.all());
    const count = (state: 'held' | 'loading'): number =>
      idle.filter(({ workerId }) =>
        current.shardIds.some((shardId) => this.members.holds(workerId, shardId) === state),
      ).length;
    const [held, loading] = [count('held'), count('loading')];
    if (held >= spares) return null;
    const isPassing = held + loading >= spares;
    const why = isPassing
      ? `${loading} more ${loading === 1 ? 'is' : 'are'} being loaded`
      : 'the others want workers beside the plan, with the memory for a copy of its layers';
    return { words: `${held} of ${spares} spares held; ${why}.`, isPassing };
  }

  #idle(current: Target, members: readonly Member[]): Member[] {
    return members.filter(({ workerId }) => !uses(current, workerId));
  }
}
