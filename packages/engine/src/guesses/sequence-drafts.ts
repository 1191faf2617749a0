import { Acceptance } from './acceptance.js';
import { noTokens } from '../kv/token-list.js';

/** Tokens that are decoded before a draft is asked again that failed or did not pay, at first and at most. */
const restTokensMin = 16;
const restTokensMax = 512;

/** What a draft was asked for. */
export interface AskedDraft {
  /** Known tokens behind which the guesses are. */
  readonly atTokens: number;
  readonly count: number;
  readonly askedMs: number;
  /** When they are not waited for any longer. */
  readonly dueMs: number;
}

/** What one sequence has to do with the draft: it asks for guesses, waits for them, and rests where they do not pay. */
export class SequenceDrafts {
  #asked: AskedDraft | null = null;
  #askedAt = -1;
  #came: { readonly atTokens: number; readonly tokens: Int32Array } | null = null;
  #restUntil = 0;
  #restTokens = restTokensMin;
  #isTrialDue = false;
  #isWarm = false;
  #acceptance: Acceptance | null = null;
  /** When its latest token came, if a step without guesses brought it. */
  plainMs: number | null = null;

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
    return this.#asked === null && knownTokens > this.#askedAt && knownTokens >= this.#restUntil;
  }

  /** Whether it has rested, so that guesses are tried although they do not seem to pay. */
  get isTrialDue(): boolean {
    return this.#isTrialDue;
  }

  /** How often guesses come true; a new sequence is credited with what others had. */
  acceptance(credit: { readonly hits: number; readonly misses: number }): Acceptance {
    return (this.#acceptance ??= new Acceptance(credit));
  }

  ask(asked: AskedDraft): void {
    this.#asked = asked;
    this.#askedAt = asked.atTokens;
    this.#isTrialDue = false;
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

  /** They came to nothing, or would not pay: the sequence goes on without for a while, each time for longer. */
  rest(knownTokens: number): void {
    this.#restUntil = knownTokens + this.#restTokens;
    this.#restTokens = Math.min(restTokensMax, 2 * this.#restTokens);
    this.#isTrialDue = true;
  }

  /** They pay. */
  goOn(): void {
    this.#restTokens = restTokensMin;
    this.#isTrialDue = false;
  }

  /** The guesses behind so many known tokens; empty where there are none. */
  guessesAt(knownTokens: number): Int32Array {
    return this.#came?.atTokens === knownTokens ? this.#came.tokens : noTokens;
  }
}
