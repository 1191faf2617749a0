import { ButterflyError, type Clock, limits } from '@butterfly/common';
import { MaskThread } from './mask-thread.js';
import type { TokenTable } from '@butterfly/wire';
import { checkTable } from './token-table.js';

/** Threads at most: each has the vocabulary in memory. */
const threadsMax = 4;
/** A thread whose masks nobody asked for so long does not hold anybody up while it compiles. */
const quietMs = 1_000;

interface Thread {
  readonly thread: MaskThread;
  /** When a mask was last asked of it, or a grammar. */
  usedMs: number;
  readonly constraintIds: Set<number>;
  compiling: number;
}

/** A grammar in a thread that has compiled it. */
export interface Prepared {
  readonly thread: MaskThread;
  /** Tells that a mask was asked for. */
  readonly touch: () => void;
}

/**
 * The grammars of a model in a worker, and the threads that they are in. There is no thread before the first grammar. A new
 * one is compiled in a thread that computes no masks, where there may be one more, because a sequence whose mask comes late
 * holds up all that are in its step.
 */
export class ConstraintHost {
  readonly #threads = new Set<Thread>();
  readonly #threadOf = new Map<number, Thread>();
  readonly #preparing = new Map<number, Promise<void>>();
  #table: TokenTable | null = null;

  constructor(private readonly clock: Clock) {}

  /** The vocabulary of the model, before the first grammar. @throws ButterflyError PROTOCOL_INVALID */
  use(table: TokenTable): void {
    checkTable(table);
    this.#table = table;
  }

  /**
   * Compiles a grammar, once for each id.
   * @throws ButterflyError COMPUTE_FAILED when it is none or takes too long, PROTOCOL_INVALID without a vocabulary,
   * QUEUE_FULL when there are too many
   */
  async prepare(constraintId: number, grammar: string): Promise<void> {
    if (this.find(constraintId)) return;
    const known = this.#preparing.get(constraintId);
    const preparing = known ?? this.#compile(constraintId, grammar);
    this.#preparing.set(constraintId, preparing);
    try {
      await preparing;
    } finally {
      this.#preparing.delete(constraintId);
    }
  }

  /** Null for one that is not prepared, or was lost with its thread. */
  find(constraintId: number): Prepared | null {
    const thread = this.#threadOf.get(constraintId);
    if (!thread?.thread.isAlive) return null;
    return { thread: thread.thread, touch: () => (thread.usedMs = this.clock.nowMs()) };
  }

  drop(constraintId: number): void {
    const thread = this.#threadOf.get(constraintId);
    this.#threadOf.delete(constraintId);
    thread?.constraintIds.delete(constraintId);
    thread?.thread.drop(constraintId);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#threads].map(({ thread }) => thread.close()));
    this.#threads.clear();
    this.#threadOf.clear();
  }

  async #compile(constraintId: number, grammar: string): Promise<void> {
    if (this.#threadOf.size >= limits.constraintsMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        `${limits.constraintsMax} constraints are in use already; retry later.`,
      );
    const chosen = this.#choose();
    chosen.compiling++;
    chosen.usedMs = this.clock.nowMs();
    try {
      await chosen.thread.compile(constraintId, grammar);
      chosen.constraintIds.add(constraintId);
      this.#threadOf.set(constraintId, chosen);
    } catch (error) {
      this.#remove(chosen);
      throw error;
    } finally {
      chosen.compiling--;
    }
  }

  /** A quiet thread, or a new one, or the one with the fewest grammars. */
  #choose(): Thread {
    for (const each of this.#threads) if (!each.thread.isAlive) this.#remove(each);
    const nowMs = this.clock.nowMs();
    const all = [...this.#threads].sort((a, b) => a.constraintIds.size - b.constraintIds.size);
    const quiet = all.find(({ compiling, usedMs }) => compiling === 0 && nowMs - usedMs > quietMs);
    const unused = all.find(({ compiling, constraintIds }) => compiling === 0 && constraintIds.size === 0);
    const first = quiet ?? unused;
    if (first) return first;
    const [fewest] = all;
    return fewest && all.length >= threadsMax ? fewest : this.#begin();
  }

  #begin(): Thread {
    if (!this.#table)
      throw new ButterflyError('PROTOCOL_INVALID', 'A constraint came before the vocabulary of its model.');
    const thread = new MaskThread(this.#table, this.clock);
    const begun = { thread, usedMs: this.clock.nowMs(), constraintIds: new Set<number>(), compiling: 0 };
    this.#threads.add(begun);
    return begun;
  }

  /** A thread that is over takes its grammars along. */
  #remove(lost: Thread): void {
    if (lost.thread.isAlive) return;
    this.#threads.delete(lost);
    for (const constraintId of lost.constraintIds) this.#threadOf.delete(constraintId);
  }
}
