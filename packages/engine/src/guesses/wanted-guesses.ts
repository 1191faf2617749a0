import type { SamplingParams } from '@butterfly/wire';

/** Guesses that a sequence would have of another model, behind all that is known of it. */
export interface WantedGuesses {
  readonly sequenceId: number;
  /** Prompt, then output. */
  readonly known: Int32Array;
  readonly count: number;
  /** How the sequence itself draws its tokens, and which of them end it. */
  readonly sampling: SamplingParams;
  readonly stopTokens: ReadonlySet<number>;
  readonly priority: number;
  readonly tenant: string;
  /** How long they are of use. */
  readonly timeoutMs: number;
}

/** Who says which guesses are wanted, and takes them in. */
export interface WantsGuesses {
  /** When the first of those that wait waits no longer; null when nobody does. */
  readonly dueMs: number | null;
  wanted(nowMs: number): WantedGuesses[];
  guessed(sequenceId: number, atTokens: number, tokens: Int32Array, nowMs: number): void;
}

/** What became of guesses of another model, and of the model's own head, since the start. */
export interface DraftFigures {
  /** How often the draft was asked by sequences that waited for it. */
  readonly asked: number;
  /** How often it answered too late, or nothing. */
  readonly missed: number;
  /** Guesses that steps computed, and how many of these were right. */
  readonly guessed: number;
  readonly confirmed: number;
  /** The same of guesses of the model's own head. */
  readonly headGuessed: number;
  readonly headConfirmed: number;
}
