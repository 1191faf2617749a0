import type { SequenceState, SequenceWindow } from '@butterfly/wire';
import type { Prefixes } from '../kv/prefixes.js';
import type { TokenReader } from '../kv/token-hash.js';

/** A running sequence, as far as the places of its states or its window are concerned. */
export interface PlaceOwner {
  /** Its region of the arena; null while it has none. */
  readonly regionId: number | null;
}

/** What a step computes of a sequence: known tokens from `start`, and guesses. */
export interface PlacedRows<Owner extends PlaceOwner = PlaceOwner> {
  readonly owner: Owner;
  readonly start: number;
  /** Behind the last guess. */
  readonly end: number;
}

/** What a step is to the places of a sequence. */
export interface StepMade {
  /** How many guesses it computes. */
  readonly guesses: number;
  /** Whether it went ahead of its token. */
  readonly isAhead: boolean;
  /** Whether what is behind its known tokens becomes a checkpoint. */
  readonly isKept: boolean;
}

/** Where a step reads and writes what of a sequence lies outside of the arena. */
export interface SequencePlaces {
  readonly state: SequenceState | null;
  readonly window: SequenceWindow | null;
}

export const noPlaces: SequencePlaces = { state: null, window: null };

/**
 * Decides where that lies of each sequence which only some layers keep, and which of it stays for others: so cached prefixes
 * can be gone on from behind a checkpoint alone.
 */
export interface PlaceKeeper {
  readonly checkpoints: Prefixes;
  /** How many sequences may run at once. */
  readonly sequencesMax: number;
  /** How many places for checkpoints there are beside those of so many sequences. */
  spareBeside(sequences: number): number;
  /** A sequence begins to run behind so many cached tokens, where its region has a checkpoint. */
  entered(owner: PlaceOwner, tokens: number): void;
  /**
   * Takes the places that a step writes.
   * @param onDropped is told of regions that lost a checkpoint for that.
   */
  prepare(rows: Iterable<PlacedRows>, onDropped: (regionIds: readonly number[]) => void): void;
  /** Where the step that was prepared last reads and writes. */
  placesOf(owner: PlaceOwner): SequencePlaces;
  /** A step was made that computes its known tokens up to `end`, and perhaps guesses behind them. */
  dispatched(owner: PlaceOwner, end: number, made: StepMade): void;
  /**
   * The token came that a step may have gone ahead of, or that guesses were made for: its first `tokens` tokens were computed
   * as they are.
   * @returns behind how many of these its next step goes on: fewer where what is behind all of them is not there.
   */
  confirmed(owner: PlaceOwner, tokens: number): number;
  /** A sequence runs no more; what is behind its first `tokens` tokens becomes a checkpoint, or what of it is there. */
  left(owner: PlaceOwner, tokens: number): void;
  /** Drops what whoever begins with these tokens could go on from. */
  distrust(known: TokenReader): void;
}

export function regionOf({ regionId }: PlaceOwner): number {
  if (regionId === null) throw new RangeError('a sequence has no region');
  return regionId;
}
