import type { ArenaCopy, StepSequence } from '@butterfly/wire';

/** Since when the numbers of a row are NaN or infinite: by the layers of this stage, or before it. */
export type FaultOrigin = 'here' | 'before';

/** The rows of a step whose numbers are NaN or infinite, and of which nothing can be said. */
export interface StageFaults {
  readonly rows: ReadonlyMap<number, FaultOrigin>;
  /** Among the rows of logits, those that are made of such numbers. */
  readonly logitRows: ReadonlySet<number>;
}

/** Rows of one sequence in a step. */
export interface RowsOfSequence {
  readonly sequence: StepSequence;
  readonly rowStart: number;
  /** Behind its known tokens, where guesses begin. */
  readonly knownEnd: number;
  readonly rowEnd: number;
}

export function rowsOf(sequences: readonly StepSequence[]): RowsOfSequence[] {
  let rowEnd = 0;
  return sequences.map((sequence) => {
    const rowStart = rowEnd;
    rowEnd += sequence.rows;
    return { sequence, rowStart, knownEnd: rowEnd - sequence.draftTokens.length, rowEnd };
  });
}

/**
 * Of each sequence with a faulty row among those of its known tokens, the earliest origin. A guess may be as faulty as it
 * likes, as long as it is not confirmed.
 */
export function faultySequences(
  sequences: readonly StepSequence[],
  { rows }: Pick<StageFaults, 'rows'>,
): ReadonlyMap<number, FaultOrigin> {
  const found = new Map<number, FaultOrigin>();
  for (const { sequence, rowStart, knownEnd } of rowsOf(sequences))
    for (let row = rowStart; row < knownEnd; row++) {
      const origin = rows.get(row);
      if (origin === undefined) continue;
      found.set(sequence.sequenceId, origin);
      break;
    }
  return found;
}

/** Which values of so many are NaN or infinite. */
export function notFinite(values: Float32Array | null): number[] {
  const found: number[] = [];
  for (let i = 0; values && i < values.length; i++) if (!Number.isFinite(values[i])) found.push(i);
  return found;
}

/**
 * The slots of an arena whose keys and values came of faulty rows. Whoever attends to one is faulty as well, even where
 * quantizing has made plain numbers of it; and one that is only masked must be emptied first, since kernels multiply what
 * they mask by zero, which a NaN survives. Empty in a model that is in order, and then it costs nothing.
 */
export class FaultySlots {
  readonly #marks: Uint8Array;
  #count = 0;

  constructor(slots: number) {
    this.#marks = new Uint8Array(slots);
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  mark(slot: number, isFaulty = true): void {
    const value = isFaulty ? 1 : 0;
    this.#count += value - (this.#marks[slot] ?? 0);
    this.#marks[slot] = value;
  }

  /** What is copied is as faulty as before. */
  copy({ fromSlot, toSlot, slots }: ArenaCopy): void {
    if (this.isEmpty) return;
    this.#marks.copyWithin(toSlot, fromSlot, fromSlot + slots);
    this.#count = this.#marks.reduce((sum, mark) => sum + mark, 0);
  }

  /** The faulty slots in a range. */
  within(start: number, end: number): number[] {
    const found: number[] = [];
    if (this.isEmpty) return found;
    for (
      let slot = this.#marks.indexOf(1, start);
      slot >= 0 && slot < end;
      slot = this.#marks.indexOf(1, slot + 1)
    )
      found.push(slot);
    return found;
  }
}
