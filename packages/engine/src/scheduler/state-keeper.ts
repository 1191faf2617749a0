import { ButterflyError } from '@butterfly/common';
import { emptyState, firstOwnState } from '@butterfly/wire';
import { CheckpointIndex } from '../kv/checkpoint-index.js';
import { StateSlots } from '../kv/state-slots.js';
import type { TokenReader } from '../kv/token-hash.js';
import {
  type PlaceKeeper,
  type PlaceOwner,
  type PlacedRows,
  type SequencePlaces,
  type StepMade,
  regionOf,
} from './place-keeper.js';

/** The state of a sequence behind its first `tokens` tokens; the one behind none lies in `emptyState`. */
interface Place {
  readonly tokens: number;
  readonly slot: number;
}

interface Held {
  /** What the next step reads, if it is right. */
  current: Place;
  /**
   * The one before, as long as a step is ahead of the token that leads from one to the other, or has guessed it: it may prove
   * wrong.
   */
  older: Place | null;
  /** Where the step that is being formed writes. */
  next: number | null;
}

/**
 * Decides in which slots the states of sequences lie, where layers keep such, and which of them stay as checkpoints.
 *
 * A step reads a state from one slot and writes the next one to another. All slots to write are taken before any that was
 * read is left, so that no sequence of a step writes what another one reads; between steps, order is enough. With two slots
 * for each sequence that runs there is always one to write: a sequence that goes into a step uses one at most, and whatever
 * else is in use is a checkpoint, of which the one that was used longest ago goes.
 *
 * Guesses go into a state as known tokens do. So the state before them is kept until their step is answered, and where one
 * of them is refused the sequence goes on from it: what was known and right behind it is computed once more.
 */
export class StateKeeper implements PlaceKeeper {
  readonly checkpoints: CheckpointIndex;
  readonly #slots: StateSlots;
  readonly #held = new Map<PlaceOwner, Held>();

  /** @param blockTokens checkpoints before fewer tokens are not worth their slot. */
  constructor(
    private readonly stateSlots: number,
    blockTokens: number,
  ) {
    this.#slots = new StateSlots(stateSlots);
    this.checkpoints = new CheckpointIndex(this.#slots, blockTokens);
  }

  /** Each needs a slot to read and one to write. */
  get sequencesMax(): number {
    return Math.max(0, Math.floor((this.stateSlots - firstOwnState) / 2));
  }

  spareBeside(sequences: number): number {
    return Math.max(0, this.stateSlots - firstOwnState - 2 * sequences);
  }

  entered(owner: PlaceOwner, tokens: number): void {
    const slot = tokens === 0 ? emptyState : this.checkpoints.slotAt(regionOf(owner), tokens);
    this.#use(slot);
    this.#held.set(owner, { current: { tokens, slot }, older: null, next: null });
  }

  prepare(rows: Iterable<PlacedRows>, onDropped: (regionIds: readonly number[]) => void): void {
    for (const { owner } of rows) {
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

  placesOf(owner: PlaceOwner): SequencePlaces {
    const { current, next } = this.#heldBy(owner);
    if (next === null) throw defect('a step was not prepared');
    return { state: { from: current.slot, to: next }, window: null };
  }

  dispatched(owner: PlaceOwner, end: number, { guesses, isAhead, isKept }: StepMade): void {
    const held = this.#heldBy(owner);
    if (held.next === null) throw defect('a step was not prepared');
    if (held.older !== null) throw defect('a step is two tokens ahead, or behind guesses');
    if (isKept && guesses > 0) throw defect('a checkpoint is to be made of guesses');
    if (isAhead || guesses > 0) held.older = held.current;
    else this.#leave(held.current.slot);
    held.current = { tokens: end + guesses, slot: held.next };
    held.next = null;
    if (isKept) this.checkpoints.keep(regionOf(owner), end, held.current.slot);
  }

  confirmed(owner: PlaceOwner, tokens: number): number {
    const held = this.#heldBy(owner);
    const { current, older } = held;
    if (older === null) return current.tokens;
    const isRight = current.tokens <= tokens;
    this.#leave((isRight ? older : current).slot);
    held.current = isRight ? current : older;
    held.older = null;
    return held.current.tokens;
  }

  left(owner: PlaceOwner, tokens: number): void {
    const held = this.#heldBy(owner);
    this.#held.delete(owner);
    const places = held.older ? [held.current, held.older] : [held.current];
    const last = places.find((place) => place.tokens <= tokens);
    if (last && last.tokens > 0) this.checkpoints.keep(regionOf(owner), last.tokens, last.slot);
    for (const { slot } of places) this.#leave(slot);
    if (held.next !== null) this.#leave(held.next);
  }

  distrust(known: TokenReader): void {
    this.checkpoints.distrust(known);
  }

  #use(slot: number): void {
    if (slot !== emptyState) this.#slots.use(slot);
  }

  #leave(slot: number): void {
    if (slot !== emptyState) this.#slots.leave(slot);
  }

  #heldBy(owner: PlaceOwner): Held {
    const held = this.#held.get(owner);
    if (held === undefined) throw defect('a sequence that does not run has none');
    return held;
  }
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `States: ${message}; this is a defect, please report it.`);
}
