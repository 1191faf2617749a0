import { limits } from '@butterfly/common';
import type { StepResult, StepSequence } from '@butterfly/wire';

/** What the head is to compute of one sequence: rows of neighbouring positions, each of a token and of the hidden state before it. */
export interface HeadPart {
  readonly sequenceId: number;
  readonly regionStart: number;
  readonly regionSlots: number;
  readonly positionStart: number;
  readonly tokens: readonly number[];
  /** F32 [hidden] each; views of what the step gave. */
  readonly hidden: readonly Float32Array[];
  /** Whether the token behind the last of them is wanted. */
  readonly isWanted: boolean;
}

/** What a step gave, of all sequences in turn. */
export interface ComputedRows {
  readonly sequences: readonly StepSequence[];
  /** Of its rows. */
  readonly tokens: Int32Array;
  /** F32 [hidden, rows]. */
  readonly hidden: Float32Array;
  readonly outputs: StepResult['outputs'];
}

/** How far the cache of the head is filled for a sequence, and what the next row is made of. */
interface Filled {
  readonly regionStart: number;
  /** Exclusive. */
  readonly end: number;
  /** F32 [hidden] of the position before `end`, where the token at `end` was not known yet. */
  readonly hidden: Float32Array | null;
}

/**
 * Finds the rows of the head: at each position the token there and the last hidden state of the position before, as
 * llama.cpp pairs them (`common_speculative_impl_draft_mtp` of common/speculative.cpp), so that the first position has zeros.
 * Only what is decided is among them: tokens that were known, guesses that were right, and what was sampled. So nothing of the
 * cache of the head is ever to be taken back. A step without a token ends with a hidden state, which waits here for the token
 * that comes with the next one; where it is not known, zeros stand for it, which makes guesses worse and nothing wrong.
 */
export class HeadRows {
  readonly #filled = new Map<number, Filled>();
  readonly #zeros: Float32Array;

  /** @param width numbers of a hidden state. */
  constructor(private readonly width: number) {
    this.#zeros = new Float32Array(width);
  }

  /** What is to be computed behind a step; counts it as done. */
  next({ sequences, tokens, hidden, outputs }: ComputedRows): HeadPart[] {
    const sampled = new Map(outputs.map((output) => [output.sequenceId, output.tokens]));
    const parts: HeadPart[] = [];
    let row = 0;
    for (const sequence of sequences) {
      const stateAt = (index: number): Float32Array =>
        hidden.subarray((row + index) * this.width, (row + index + 1) * this.width);
      const part = this.#part(sequence, {
        tokens: tokens.subarray(row, row + sequence.rows),
        sampled: sampled.get(sequence.sequenceId) ?? null,
        stateAt,
      });
      if (part && part.tokens.length > 0) parts.push(part);
      row += sequence.rows;
    }
    return parts;
  }

  #part(
    { sequenceId, regionStart, regionSlots, positionStart, rows, draftTokens, sampling }: StepSequence,
    given: {
      readonly tokens: Int32Array;
      readonly sampled: Int32Array | null;
      readonly stateAt: (index: number) => Float32Array;
    },
  ): HeadPart | null {
    const { tokens, sampled, stateAt } = given;
    const known = this.#filled.get(sequenceId);
    this.#filled.delete(sequenceId);
    const next = sampling === null ? undefined : sampled?.at(-1);
    // Its numbers are none.
    if (sampling !== null && next === undefined) return null;
    const valid = rows - draftTokens.length + Math.max(0, (sampled?.length ?? 0) - 1);
    const filled = known?.regionStart === regionStart ? known : null;
    const isFirstDone = filled !== null && filled.end > positionStart;
    const before = filled?.end === positionStart ? filled.hidden : null;
    const from = isFirstDone ? 1 : 0;
    const taken = [...tokens.subarray(from, valid)];
    const states = taken.map((_, i) => (from + i === 0 ? (before ?? this.#zeros) : stateAt(from + i - 1)));
    const end = positionStart + valid;
    const isWanted = next !== undefined && end < regionSlots;
    if (isWanted) {
      taken.push(next);
      states.push(stateAt(valid - 1));
    }
    this.#keep(sequenceId, {
      regionStart,
      end: isWanted ? end + 1 : end,
      hidden: isWanted ? null : stateAt(valid - 1).slice(),
    });
    return {
      ...{ sequenceId, regionStart, regionSlots, positionStart: positionStart + from },
      ...{ tokens: taken, hidden: states, isWanted },
    };
  }

  /** Sequences that have ended go by themselves, as they are the oldest. */
  #keep(sequenceId: number, filled: Filled): void {
    this.#filled.set(sequenceId, filled);
    for (const oldest of this.#filled.keys()) {
      if (this.#filled.size <= limits.headSequencesMax) return;
      this.#filled.delete(oldest);
    }
  }
}
