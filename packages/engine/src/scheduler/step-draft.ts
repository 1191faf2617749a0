import { limits } from '@butterfly/common';
import { type SequenceState, type StepSequence, tokenOfStepBefore } from '@butterfly/wire';
import type { Region } from '../kv/arena.js';
import type { Sequence } from './scheduler-sequence.js';
import { noTokens } from './token-list.js';

/** What one sequence takes of a step. */
interface Part {
  /** Known tokens to compute. */
  readonly rows: number;
  readonly guesses: Int32Array;
}

/** Where a sequence lies in the memory of the stages. */
export interface Places {
  region(sequence: Sequence): Region;
  /** Null in models without states. */
  state(sequence: Sequence): SequenceState | null;
}

/** The rows chosen so far for the step that is being formed. */
export class StepDraft {
  readonly #parts = new Map<Sequence, Part>();
  #rows = 0;

  constructor(readonly rowsMax: number) {}

  get rows(): number {
    return this.#rows;
  }

  get rowsLeft(): number {
    return this.rowsMax - this.#rows;
  }

  get isFull(): boolean {
    return this.rowsLeft <= 0 || this.#parts.size >= limits.stepSequencesMax;
  }

  get isEmpty(): boolean {
    return this.#parts.size === 0;
  }

  get sequences(): IterableIterator<Sequence> {
    return this.#parts.keys();
  }

  add(sequence: Sequence, rows: number, guesses: Int32Array = noTokens): void {
    this.remove(sequence);
    this.#parts.set(sequence, { rows, guesses });
    this.#rows += rows + guesses.length;
  }

  remove(sequence: Sequence): void {
    const part = this.#parts.get(sequence);
    if (part === undefined) return;
    this.#parts.delete(sequence);
    this.#rows -= part.rows + part.guesses.length;
  }

  /** The parts with their tokens, as the step of this id. Places are asked for only now, because they may have moved since they were chosen. */
  form(
    stepId: number,
    places: Places,
  ): {
    readonly sequences: readonly StepSequence[];
    readonly tokens: Int32Array;
    readonly parts: readonly (readonly [Sequence, Part])[];
  } {
    const tokens = new Int32Array(this.#rows);
    const sequences: StepSequence[] = [];
    let offset = 0;
    for (const [sequence, { rows, guesses }] of this.#parts) {
      const end = sequence.scheduled + rows;
      sequences.push(stepSequence(sequence, rows, guesses, places));
      if (sequence.scheduled >= sequence.known.length)
        tokens[offset] = tokenOfStepBefore(stepId - sequence.samplingStepId);
      else sequence.known.copyTo(tokens, offset, sequence.scheduled, end);
      if (guesses.length > 0) tokens.set(guesses, offset + rows);
      offset += rows + guesses.length;
    }
    return { sequences, tokens, parts: [...this.#parts] };
  }
}

function stepSequence(sequence: Sequence, rows: number, guesses: Int32Array, places: Places): StepSequence {
  const region = places.region(sequence);
  const { pooling } = sequence;
  const isSampled = sequence.scheduled + rows >= sequence.known.length;
  const wanted = !isSampled ? 0 : pooling === null ? 1 + guesses.length : rows;
  return {
    sequenceId: sequence.id,
    regionStart: region.start,
    regionSlots: region.slots,
    positionStart: sequence.scheduled,
    rows: rows + guesses.length,
    logitRows: wanted,
    sampling: isSampled && pooling === null ? sequence.sampling : null,
    draftTokens: guesses,
    recentTokens: isSampled ? sequence.recentTokens() : noTokens,
    state: places.state(sequence),
    ...(isSampled && pooling !== null ? { pooling } : {}),
  };
}
