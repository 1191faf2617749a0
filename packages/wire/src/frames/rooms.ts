import { limits } from '@butterfly/common';

/** The rooms of window layers, as many and as large in every stage. */
export interface WindowRooms {
  /** Tokens that a row sees, itself among them. */
  readonly windowTokens: number;
  /** How many there are. */
  readonly rooms: number;
  /** Slots of each, of one token in every window layer; whole blocks of 256. */
  readonly roomSlots: number;
  /** What they begin with multiples of, and how many tokens they keep beside the window; tests have smaller ones. */
  readonly blockSlots?: number;
  readonly backTokens?: number;
}

/** Rooms begin with a token at a multiple of this, as regions do: so kernels take the same tokens together as without rooms. */
export const roomBlockSlots = 256;
/**
 * How many tokens a sequence may be set back behind a move, and still find its window: one where a step went ahead of a stop
 * token, all of its guesses where they prove wrong.
 */
const usualBackTokens = limits.draftTokensMax;

/** Slots of a room in which any step of so many rows finds place behind its window. */
export function roomSlotsFor(windowTokens: number, rowsMax: number): number {
  const slots = windowTokens - 1 + usualBackTokens + (roomBlockSlots - 1) + rowsMax;
  return Math.ceil(slots / roomBlockSlots) * roomBlockSlots;
}

/** Whether any step of so many rows finds place in a room, behind its window. */
export function roomFits(
  { windowTokens, rooms, roomSlots, blockSlots = roomBlockSlots, backTokens = usualBackTokens }: WindowRooms,
  rowsMax: number,
): boolean {
  return (
    rooms >= 1 && windowTokens >= 1 && roomSlots >= windowTokens - 1 + backTokens + blockSlots - 1 + rowsMax
  );
}

/** Whether a room that begins with the token at `first` holds all that a row at `position` sees of what is before it. */
export function holdsWindow(first: number, position: number, { windowTokens }: WindowRooms): boolean {
  return first <= Math.max(0, position - windowTokens + 1);
}

/**
 * Position of the first token that a room keeps before a step: where it is, as long as the rows find place behind what is
 * there, and in another room or when this one is full as few tokens as the window needs.
 * @param first where it is now.
 * @param rows the positions of the step, the last one exclusive.
 */
export function firstToKeep(
  first: number,
  rows: { readonly start: number; readonly end: number },
  { windowTokens, roomSlots, blockSlots = roomBlockSlots, backTokens = usualBackTokens }: WindowRooms,
  isSameRoom: boolean,
): number {
  if (isSameRoom && rows.end - first <= roomSlots) return first;
  const needed = Math.max(0, rows.start - windowTokens + 1 - backTokens);
  return Math.max(first, needed - (needed % blockSlots));
}
