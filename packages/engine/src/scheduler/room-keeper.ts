import { ButterflyError } from '@butterfly/common';
import { type SequenceWindow, type WindowRooms, firstToKeep, holdsWindow } from '@butterfly/wire';
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

interface Held {
  /** Null before its first token. */
  room: number | null;
  /** Of the step that was prepared last. */
  window: SequenceWindow | null;
}

/**
 * Decides in which rooms the windows of sequences lie, where window layers keep no more, and which of them stay as
 * checkpoints.
 *
 * A room that one sequence alone uses is written on, and what its window needs is moved to the front when it is full. One
 * that is a checkpoint too, or that several go on from, is left as it is: the next step writes to another one, to which it
 * copies the window first. Stages copy in the order of the sequences of a step, so a room may be taken as soon as the last
 * who used it has been given another. A sequence uses one room at most, so with a room for each that may run there is always
 * one to write, if need be that of the checkpoint that was used longest ago.
 */
export class RoomKeeper implements PlaceKeeper {
  readonly checkpoints: CheckpointIndex;
  readonly #rooms: StateSlots;
  /** By room, the position of its first token. */
  readonly #firsts = new Map<number, number>();
  readonly #held = new Map<PlaceOwner, Held>();

  /** @param blockTokens checkpoints before fewer tokens are not worth their room. */
  constructor(
    private readonly windows: WindowRooms,
    blockTokens: number,
  ) {
    this.#rooms = new StateSlots(windows.rooms, 0);
    this.checkpoints = new CheckpointIndex(this.#rooms, blockTokens);
  }

  get sequencesMax(): number {
    return this.windows.rooms;
  }

  spareBeside(sequences: number): number {
    return Math.max(0, this.windows.rooms - sequences);
  }

  entered(owner: PlaceOwner, tokens: number): void {
    const room = tokens === 0 ? null : this.checkpoints.slotAt(regionOf(owner), tokens);
    if (room !== null) this.#rooms.use(room);
    this.#held.set(owner, { room, window: null });
  }

  prepare(rows: Iterable<PlacedRows>, onDropped: (regionIds: readonly number[]) => void): void {
    for (const each of rows) {
      const held = this.#heldBy(each.owner);
      const from = held.room;
      const to = this.#roomFor(held, onDropped);
      const fromFirst = from === null ? 0 : this.#firstOf(from);
      const toFirst = firstToKeep(fromFirst, each, this.windows, from === to);
      held.room = to;
      held.window = { from: from ?? to, fromFirst, to, toFirst };
      if (from !== null && from !== to) this.#rooms.leave(from);
      this.#firsts.set(to, toFirst);
    }
  }

  placesOf(owner: PlaceOwner): SequencePlaces {
    const { window } = this.#heldBy(owner);
    if (window === null) throw defect('a step was not prepared');
    return { state: null, window };
  }

  dispatched(owner: PlaceOwner, end: number, { isKept }: StepMade): void {
    if (isKept) this.#keep(owner, this.#heldBy(owner), end);
  }

  /** Nothing is to be done: rows that prove wrong are written over. */
  confirmed(_: PlaceOwner, tokens: number): number {
    return tokens;
  }

  left(owner: PlaceOwner, tokens: number): void {
    const held = this.#heldBy(owner);
    this.#held.delete(owner);
    this.#keep(owner, held, tokens);
    if (held.room !== null) this.#rooms.leave(held.room);
  }

  distrust(known: TokenReader): void {
    this.checkpoints.distrust(known);
  }

  /** Keeps the window behind the first `tokens` tokens, as far as the room still has it. */
  #keep(owner: PlaceOwner, { room }: Held, tokens: number): void {
    if (room !== null && tokens > 0 && holdsWindow(this.#firstOf(room), tokens, this.windows))
      this.checkpoints.keep(regionOf(owner), tokens, room);
  }

  /** The room that a sequence writes to next: its own, if nobody else needs what is in there. */
  #roomFor({ room }: Held, onDropped: (regionIds: readonly number[]) => void): number {
    for (;;) {
      if (room !== null && !this.#rooms.isShared(room)) return room;
      const free = this.#rooms.take();
      if (free !== null) return free;
      // Best one whose room becomes free; else one that this or another sequence runs on.
      const dropped = this.checkpoints.dropOldest() ?? this.checkpoints.dropOldest('alsoShared');
      if (dropped === null) throw defect('there is none to write to');
      onDropped(dropped);
    }
  }

  #firstOf(room: number): number {
    return this.#firsts.get(room) ?? 0;
  }

  #heldBy(owner: PlaceOwner): Held {
    const held = this.#held.get(owner);
    if (held === undefined) throw defect('a sequence that does not run has none');
    return held;
  }
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `Rooms: ${message}; this is a defect, please report it.`);
}
