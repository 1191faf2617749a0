import { limits } from '@butterfly/common';
import { type StepSequence, tokenOfStepBefore } from '@butterfly/wire';
import type { Region } from '../kv/arena.js';
import type { PlacedRows, SequencePlaces } from './place-keeper.js';
import type { ScoredRange } from './prompt-scores.js';
import type { Sequence } from './scheduler-sequence.js';
import { type Guesses, noGuesses } from '../guesses/guesses.js';
import { noTokens } from '../kv/token-list.js';

/** What one sequence takes of a step. */
interface Part {
  /** Known tokens to compute. */
  readonly rows: number;
  readonly guesses: Guesses;
  /** The tokens of its prompt that its rows score. */
  readonly scored: ScoredRange | null;
}

/** Where a sequence lies in the memory of the stages. */
export interface Places {
  region(sequence: Sequence): Region;
  places(sequence: Sequence): SequencePlaces;
}

/** The rows chosen so far for the step that is being formed. */
export class StepDraft {
  readonly #parts = new Map<Sequence, Part>();
  #rows = 0;
  #constraintTokens = 0;
  #scoredRows = 0;

  constructor(readonly rowsMax: number) {}

  get rows(): number {
    return this.#rows;
  }

  get rowsLeft(): number {
    return this.rowsMax - this.#rows;
  }

  get isFull(): boolean {
    return (
      this.rowsLeft <= 0 ||
      this.#parts.size >= limits.stepSequencesMax ||
      this.#constraintTokens >= limits.constraintTokensMax
    );
  }

  /** How many tokens of prompts it may yet score. */
  get scoredRowsLeft(): number {
    return limits.scoredRowsMax - this.#scoredRows;
  }

  get isEmpty(): boolean {
    return this.#parts.size === 0;
  }

  get sequences(): IterableIterator<Sequence> {
    return this.#parts.keys();
  }

  /** The guesses that it has of one of them. */
  guessesOf(sequence: Sequence): Guesses {
    return this.#parts.get(sequence)?.guesses ?? noGuesses;
  }

  /** Which tokens the step will compute of each sequence. */
  *placedRows(): IterableIterator<PlacedRows<Sequence>> {
    for (const [owner, { rows, guesses }] of this.#parts)
      yield { owner, start: owner.scheduled, end: owner.scheduled + rows + guesses.tokens.length };
  }

  add(sequence: Sequence, rows: number, guesses = noGuesses): void {
    this.remove(sequence);
    const scored = sequence.scores?.range(sequence.scheduled, sequence.scheduled + rows) ?? null;
    this.#parts.set(sequence, { rows, guesses, scored });
    this.#rows += rows + guesses.tokens.length;
    this.#constraintTokens += sequence.constraintTokens;
    this.#scoredRows += scoredRows(scored);
  }

  remove(sequence: Sequence): void {
    const part = this.#parts.get(sequence);
    if (part === undefined) return;
    this.#parts.delete(sequence);
    this.#rows -= part.rows + part.guesses.tokens.length;
    this.#constraintTokens -= sequence.constraintTokens;
    this.#scoredRows -= scoredRows(part.scored);
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
    for (const [sequence, part] of this.#parts) {
      const { rows } = part;
      const guesses = part.guesses.tokens;
      const end = sequence.scheduled + rows;
      sequences.push(stepSequence(sequence, part, places));
      if (sequence.scheduled >= sequence.known.length)
        tokens[offset] = tokenOfStepBefore(stepId - sequence.samplingStepId);
      else sequence.known.copyTo(tokens, offset, sequence.scheduled, end);
      if (guesses.length > 0) tokens.set(guesses, offset + rows);
      offset += rows + guesses.length;
    }
    return { sequences, tokens, parts: [...this.#parts] };
  }
}

const scoredRows = (scored: ScoredRange | null): number => (scored ? scored.to - scored.from : 0);

function stepSequence(
  sequence: Sequence,
  { rows, guesses: { tokens: guesses }, scored }: Part,
  places: Places,
): StepSequence {
  const region = places.region(sequence);
  const { pooling } = sequence;
  const isSampled = sequence.scheduled + rows >= sequence.known.length;
  const isPooled = isSampled && pooling !== null;
  const isDrawn = isSampled && !isPooled;
  const constraint = isDrawn ? sequence.constraint() : null;
  const recentTokens = isDrawn ? sequence.recentTokens() : noTokens;
  return {
    sequenceId: sequence.id,
    regionStart: region.start,
    regionSlots: region.slots,
    positionStart: sequence.scheduled,
    rows: rows + guesses.length,
    logitRows: isPooled ? rows : scoredRows(scored) + (isDrawn ? 1 + guesses.length : 0),
    sampling: isDrawn ? sequence.samplingOf(recentTokens, guesses) : null,
    draftTokens: guesses,
    recentTokens,
    logprobs: isDrawn ? sequence.logprobs : null,
    scored: scored && (sequence.scores?.wanted(scored) ?? null),
    ...places.places(sequence),
    ...(constraint ? { constraint } : {}),
    ...(isPooled ? { pooling } : {}),
    ...(sequence.again > 0 ? { isDecoded: true } : {}),
  };
}
