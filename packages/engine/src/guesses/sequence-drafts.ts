import { noTokens } from '../kv/token-list.js';
import { Acceptance } from './acceptance.js';
import { Resting } from './resting.js';

/** What a draft was asked for. */
export interface AskedDraft {
  /** Known tokens behind which the guesses are. */
  readonly atTokens: number;
  readonly count: number;
  readonly askedMs: number;
  /** When they are not waited for any longer. */
  readonly dueMs: number;
}

/** What one sequence has to do with the draft: it asks for guesses, waits for them, and rests where they come to nothing. */
export class SequenceDrafts {
  /** After answers that did not come, or were wrong. */
  readonly resting = new Resting();
  /** When its latest token came. */
  tokenMs: number | null = null;
  #asked: AskedDraft | null = null;
  #askedAt = -1;
  #came: { readonly atTokens: number; readonly tokens: Int32Array } | null = null;
  #isWarm = false;
  #acceptance: Acceptance | null = null;

  /** What was asked for and has not come. */
  get asked(): AskedDraft | null {
    return this.#asked;
  }

  /** Whether the draft was told of the prompt, so that it computes that beside the model itself. */
  get isWarm(): boolean {
    return this.#isWarm;
  }

  /** Whether it may be asked with so many known tokens: once, and not while it rests or something is under way. */
  mayAsk(knownTokens: number): boolean {
    return this.#asked === null && knownTokens > this.#askedAt && !this.resting.isResting(knownTokens);
  }

  /** Whether guesses were asked for behind so many known tokens, whatever came. */
  wasAskedAt(knownTokens: number): boolean {
    return this.#askedAt === knownTokens;
  }

  /** How often guesses come true; a new sequence is credited with what others had. */
  acceptance(credit: { readonly hits: number; readonly misses: number }): Acceptance {
    return (this.#acceptance ??= new Acceptance(credit));
  }

  ask(asked: AskedDraft): void {
    this.#asked = asked;
    this.#askedAt = asked.atTokens;
  }

  /** The draft computes the prompt; what it says behind it is not waited for. */
  warm(asked: AskedDraft): void {
    this.#isWarm = true;
    this.#asked = asked;
  }

  /** Guesses, or none, came for what was asked with so many known tokens; null when that is not what was asked last. */
  answered(atTokens: number, tokens: Int32Array): AskedDraft | null {
    const asked = this.#asked;
    if (asked?.atTokens !== atTokens) return null;
    this.#asked = null;
    if (tokens.length > 0) this.#came = { atTokens, tokens };
    return asked;
  }

  /** They are not waited for any longer. */
  giveUp(): void {
    this.#asked = null;
  }

  /** The guesses behind so many known tokens; empty where there are none. */
  guessesAt(knownTokens: number): Int32Array {
    return this.#came?.atTokens === knownTokens ? this.#came.tokens : noTokens;
  }
}
