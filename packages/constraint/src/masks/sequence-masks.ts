import { ButterflyError, limits } from '@butterfly/common';
import type { Step, StepResult, StepSequence } from '@butterfly/wire';
import type { ConstraintHost, Prepared } from './constraint-host.js';
import type { MaskOrder } from './mask-messages.js';
import type { MaskThread } from './mask-thread.js';

/** The masks of a step: of each constrained sequence one for each of its rows that are sampled. */
export type StepMasks = ReadonlyMap<number, readonly Int32Array[]>;

const noTokens = new Int32Array(0);
const noMasks: StepMasks = new Map();
let lastKey = 0;

/** A sequence in the midst of its constraint. */
interface Followed {
  readonly key: number;
  readonly prepared: Prepared;
  /** Where the next token goes, counted from the beginning of the sequence. */
  position: number;
  /** Of its mask behind all tokens that are known. */
  readonly row: number;
}

/** The masks that a step waits for. */
interface Expected {
  readonly rows: ReadonlyMap<number, { readonly followed: Followed; readonly draftRows: readonly number[] }>;
  readonly ready: Promise<unknown>;
}

/**
 * The places of all sequences in their constraints, on the last stage of one epoch. It follows what the stage samples, so
 * that the mask for the next token is computed at once, while the stage computes the next step. What it remembers is a
 * cache, of the latest `constraintMatchersMax` sequences: a step brings all that is needed where the stage may not know it.
 */
export class SequenceMasks implements Disposable {
  /** Least recently used first. */
  readonly #followed = new Map<number, Followed>();
  /** Masks under way, by thread. */
  readonly #pending = new Map<MaskThread, Promise<void>>();
  #forgotten = new Map<MaskThread, number[]>();
  #expected: Expected | null = null;

  constructor(private readonly host: ConstraintHost) {}

  /**
   * A step that the stage begins to compute, when all steps before are sampled: orders what masks are not under way.
   * @throws ButterflyError COMPUTE_INVALID when the stage does not know the tokens or the constraint of a sequence
   */
  begin(sequences: Step['sequences']): void {
    this.#expected = null;
    const constrained = sequences.filter(({ constraint, sampling }) => constraint && sampling);
    if (constrained.length === 0) return;
    const rows = new Map<number, { followed: Followed; draftRows: number[] }>();
    const orders = new Map<MaskThread, MaskOrder[]>();
    for (const sequence of constrained) {
      const { order, followed, draftRows } = this.#follow(sequence);
      const { thread } = followed.prepared;
      rows.set(sequence.sequenceId, { followed, draftRows });
      followed.prepared.touch();
      if (order) orders.set(thread, [...(orders.get(thread) ?? []), order]);
    }
    this.#send(orders);
    const threads = new Set([...rows.values()].map(({ followed }) => followed.prepared.thread));
    const ready = Promise.all([...threads].map(async (thread) => this.#pending.get(thread)));
    // Whoever waits is told; until then it is nobody's.
    ready.catch(() => undefined);
    this.#expected = { rows, ready };
  }

  /** The masks of the step that was begun last. @throws ButterflyError COMPUTE_FAILED when their thread is over */
  async ready(): Promise<StepMasks> {
    const expected = this.#expected;
    if (!expected) return noMasks;
    await expected.ready;
    return new Map(
      [...expected.rows].map(([sequenceId, { followed, draftRows }]) => {
        const { thread } = followed.prepared;
        return [sequenceId, [followed.row, ...draftRows].map((row) => thread.mask(row))];
      }),
    );
  }

  /** What was sampled of that step: the masks behind it are computed from now on. */
  accept(outputs: StepResult['outputs']): void {
    const expected = this.#expected;
    if (!expected) return;
    this.#expected = null;
    const orders = new Map<MaskThread, MaskOrder[]>();
    for (const { sequenceId, tokens } of outputs) {
      const mine = expected.rows.get(sequenceId);
      if (!mine) continue;
      const { followed, draftRows } = mine;
      const { thread } = followed.prepared;
      thread.giveRows(draftRows);
      // One that failed is not heard of again.
      if (tokens.length === 0) continue;
      followed.position += tokens.length;
      const { key, row } = followed;
      const order = { key, fresh: null, accepted: tokens, draftTokens: noTokens, rows: [row] };
      orders.set(thread, [...(orders.get(thread) ?? []), order]);
    }
    this.#send(orders);
  }

  [Symbol.dispose](): void {
    for (const sequenceId of [...this.#followed.keys()]) this.#forget(sequenceId);
    this.#send(new Map());
  }

  #follow(sequence: StepSequence): {
    readonly order: MaskOrder | null;
    readonly followed: Followed;
    readonly draftRows: number[];
  } {
    const { sequenceId, constraint, draftTokens } = sequence;
    if (!constraint) throw new ButterflyError('INTERNAL', 'A sequence without constraint has no masks.');
    const end = sequence.positionStart + sequence.rows - draftTokens.length;
    const isFresh = constraint.tokens !== null;
    const followed = isFresh
      ? this.#begin(sequenceId, constraint.id, constraint.start + constraint.tokens.length)
      : this.#followed.get(sequenceId);
    if (followed?.position !== end)
      throw new ButterflyError(
        'COMPUTE_INVALID',
        `The last stage does not know the tokens of sequence ${sequenceId} up to ${end}, which its constraint needs.`,
      );
    this.#followed.delete(sequenceId);
    this.#followed.set(sequenceId, followed);
    const { key, row, prepared } = followed;
    const draftRows = Array.from(draftTokens, () => prepared.thread.takeRow());
    const fresh = isFresh ? { constraintId: constraint.id, tokens: constraint.tokens } : null;
    const order =
      fresh || draftRows.length > 0
        ? { key, fresh, accepted: noTokens, draftTokens, rows: [row, ...draftRows] }
        : null;
    return { order, followed, draftRows };
  }

  #begin(sequenceId: number, constraintId: number, position: number): Followed {
    this.#forget(sequenceId);
    const prepared = this.host.find(constraintId);
    if (!prepared)
      throw new ButterflyError(
        'COMPUTE_INVALID',
        `The last stage does not hold the constraint ${constraintId}.`,
      );
    const [oldest] = this.#followed.keys();
    if (oldest !== undefined && this.#followed.size >= limits.constraintMatchersMax) this.#forget(oldest);
    const followed = { key: ++lastKey, prepared, position, row: prepared.thread.takeRow() };
    this.#followed.set(sequenceId, followed);
    return followed;
  }

  #forget(sequenceId: number): void {
    const followed = this.#followed.get(sequenceId);
    if (!followed) return;
    this.#followed.delete(sequenceId);
    const { thread } = followed.prepared;
    thread.giveRows([followed.row]);
    this.#forgotten.set(thread, [...(this.#forgotten.get(thread) ?? []), followed.key]);
  }

  #send(orders: ReadonlyMap<MaskThread, readonly MaskOrder[]>): void {
    const forgotten = this.#forgotten;
    this.#forgotten = new Map();
    for (const thread of new Set([...orders.keys(), ...forgotten.keys()])) {
      const done = thread.carryOut(orders.get(thread) ?? [], forgotten.get(thread) ?? []);
      done.catch(() => undefined);
      this.#pending.set(thread, done);
    }
  }
}
