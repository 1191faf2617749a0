import type { GroupPlan } from './weight-group.js';
import { WeightGroup } from './weight-group.js';

interface Held {
  readonly group: WeightGroup;
  users: number;
}

/**
 * The weights that the stages of a process hold, each once, whatever models and plans use them. Only what is loaded is given
 * to others, and it is freed with the last that uses it.
 */
export class SharedWeights {
  readonly #held = new Map<string, Held>();

  /** Bytes of native memory that they take, however many use them. */
  get bytes(): number {
    return [...this.#held.values()].reduce((sum, { group }) => sum + group.bytes, 0);
  }

  /** Those of this plan, which the caller has to leave; null where nobody has loaded them. */
  take({ key }: GroupPlan): WeightGroup | null {
    const held = this.#held.get(key);
    if (!held) return null;
    held.users += 1;
    return held.group;
  }

  /** Gives loaded weights to others too. Where somebody was faster these stay the caller's own. */
  offer(group: WeightGroup): void {
    if (!this.#held.has(group.key)) this.#held.set(group.key, { group, users: 1 });
  }

  /** The caller uses these no more, whether it took, offered or kept them to itself; to be called once. */
  leave(group: WeightGroup): void {
    const held = this.#held.get(group.key);
    if (held?.group !== group) {
      group[Symbol.dispose]();
      return;
    }
    held.users -= 1;
    if (held.users > 0) return;
    this.#held.delete(group.key);
    group[Symbol.dispose]();
  }
}
