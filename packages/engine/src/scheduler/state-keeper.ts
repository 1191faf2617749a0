import { ButterflyError } from '@butterfly/common';
import { emptyState, firstOwnState, type SequenceState } from '@butterfly/wire';
import { CheckpointIndex } from '../kv/checkpoint-index.js';
import { StateSlots } from '../kv/state-slots.js';
import type { TokenReader } from '../kv/token-hash.js';

/** A running sequence, as far as its states are concerned. */
export interface StateOwner {
  /** Its region of the arena; null while it has none. */
  readonly regionId: number | null;
}

/** The state of a sequence behind its first `tokens` tokens; the one behind none lies in `emptyState`. */
interface Place {
  readonly tokens: number;
  readonly slot: number;
}

interface Held {
  current: Place;
  /** The one before, as long as a step is ahead of the token that leads from one to the other: it may prove wrong. */
  older: Place | null;
  /** Where the step that is being formed writes. */
  next: number | null;
}

/** How many sequences may run with so many slots: each needs one to read and one to write. */
export function sequencesOfSlots(stateSlots: number): number {
  return Math.max(0, Math.floor((stateSlots - firstOwnState) / 2));
}

/** How many slots for checkpoints there are beside those of so many sequences. */
export function spareSlots(stateSlots: number, sequences: number): number {
  return Math.max(0, stateSlots - firstOwnState - 2 * sequences);
}

/**
 * Decides in which slots the states of sequences lie, where layers keep such, and which of them stay as checkpoints.
 *
 * A step reads a state from one slot and writes the next one to another. All slots to write are taken before any that was
 * read is left, so that no sequence of a step writes what another one reads; between steps, order is enough. With two slots
 * for each sequence that runs there is always one to write: a sequence that goes into a step uses one at most, and whatever
 * else is in use is a checkpoint, of which the one that was used longest ago goes.
 */
export class StateKeeper {
  readonly checkpoints: CheckpointIndex;
  readonly #slots: StateSlots;
  readonly #held = new Map<StateOwner, Held>();

  /** @param blockTokens checkpoints before fewer tokens are not worth their slot. */
  constructor(stateSlots: number, blockTokens: number) {
    this.#slots = new StateSlots(stateSlots);
    this.checkpoints = new CheckpointIndex(this.#slots, blockTokens);
  }

  /** A sequence begins to run behind so many cached tokens, where its region has a checkpoint. */
  entered(owner: StateOwner, tokens: number): void {
    const slot = tokens === 0 ? emptyState : this.checkpoints.slotAt(regionOf(owner), tokens);
    this.#use(slot);
    this.#held.set(owner, { current: { tokens, slot }, older: null, next: null });
  }

  /**
   * Takes the slots that a step of these sequences writes.
   * @param onDropped is told of regions that lost a checkpoint for that.
   */
  prepare(owners: Iterable<StateOwner>, onDropped: (regionIds: readonly number[]) => void): void {
    for (const owner of owners) {
      const held = this.#heldBy(owner);
      held.next = this.#slots.take();
      while (held.next === null) {
        const dropped = this.checkpoints.dropOldest();
        if (dropped === null) throw defect('there is no slot to write');
        onDropped(dropped);
        held.next = this.#slots.take();
      }
    }
  }

  /** Where the step that is being formed reads and writes. */
  stateOf(owner: StateOwner): SequenceState {
    const { current, next } = this.#heldBy(owner);
    if (next === null) throw defect('a step was not prepared');
    return { from: current.slot, to: next };
  }

  /**
   * A step was made that computes its tokens up to `end`.
   * @param isAhead whether it went ahead of its token.
   * @param isKept whether the state behind it becomes a checkpoint.
   */
  dispatched(
    owner: StateOwner,
    end: number,
    { isAhead, isKept }: { readonly isAhead: boolean; readonly isKept: boolean },
  ): void {
    const held = this.#heldBy(owner);
    if (held.next === null) throw defect('a step was not prepared');
    if (isAhead && held.older !== null) throw defect('a step is two tokens ahead');
    if (isAhead) held.older = held.current;
    else this.#leave(held.current.slot);
    held.current = { tokens: end, slot: held.next };
    held.next = null;
    if (isKept) this.checkpoints.keep(regionOf(owner), end, held.current.slot);
  }

  /** The token came that a step may have gone ahead of. */
  confirmed(owner: StateOwner): void {
    const held = this.#heldBy(owner);
    if (held.older) this.#leave(held.older.slot);
    held.older = null;
  }

  /** A sequence runs no more; the state behind its first `tokens` tokens, if there is one, becomes a checkpoint. */
  left(owner: StateOwner, tokens: number): void {
    const held = this.#heldBy(owner);
    this.#held.delete(owner);
    const places = held.older ? [held.current, held.older] : [held.current];
    const last = places.find((place) => place.tokens === tokens);
    if (last && tokens > 0) this.checkpoints.keep(regionOf(owner), tokens, last.slot);
    for (const { slot } of places) this.#leave(slot);
    if (held.next !== null) this.#leave(held.next);
  }

  /** Drops what whoever begins with these tokens could go on from. */
  distrust(known: TokenReader): void {
    this.checkpoints.distrust(known);
  }

  #use(slot: number): void {
    if (slot !== emptyState) this.#slots.use(slot);
  }

  #leave(slot: number): void {
    if (slot !== emptyState) this.#slots.leave(slot);
  }

  #heldBy(owner: StateOwner): Held {
    const held = this.#held.get(owner);
    if (held === undefined) throw defect('a sequence that does not run has none');
    return held;
  }
}

function regionOf({ regionId }: StateOwner): number {
  if (regionId === null) throw defect('a sequence has no region');
  return regionId;
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `States: ${message}; this is a defect, please report it.`);
}
