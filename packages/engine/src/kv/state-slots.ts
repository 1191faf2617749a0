import { ButterflyError } from '@butterfly/common';
import { firstOwnState } from '@butterfly/wire';

/**
 * Which slots for states, or rooms for windows, are in use, and by how many: sequences, checkpoints, or both. A slot without users may be written
 * by any later step, also while steps that read it are under way, since each stage executes steps in order.
 */
export class StateSlots {
  readonly #free: number[];
  readonly #users = new Map<number, number>();

  /**
   * @param slots all that a stage has, with those that belong to nobody
   * @param first the first that does not
   */
  constructor(slots: number, first = firstOwnState) {
    const count = Math.max(0, slots - first);
    this.#free = Array.from({ length: count }, (_, index) => slots - 1 - index);
  }

  get free(): number {
    return this.#free.length;
  }

  /** A slot that nobody uses, with one user from now on; null where there is none. */
  take(): number | null {
    const slot = this.#free.pop() ?? null;
    if (slot !== null) this.#users.set(slot, 1);
    return slot;
  }

  /** One more uses it. */
  use(slot: number): void {
    this.#users.set(slot, this.#usersOf(slot) + 1);
  }

  /** One uses it no more. */
  leave(slot: number): void {
    const users = this.#usersOf(slot);
    if (users > 1) this.#users.set(slot, users - 1);
    else {
      this.#users.delete(slot);
      this.#free.push(slot);
    }
  }

  isShared(slot: number): boolean {
    return this.#usersOf(slot) > 1;
  }

  #usersOf(slot: number): number {
    const users = this.#users.get(slot);
    if (users === undefined)
      throw new ButterflyError(
        'INTERNAL',
        `Nobody uses the state ${slot}; this is a defect, please report it.`,
      );
    return users;
  }
}
