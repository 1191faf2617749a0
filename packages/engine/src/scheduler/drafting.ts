import { type StepCurve, deadlines } from '@butterfly/common';
import type { SamplingParams } from '@butterfly/wire';
import { type DraftOutlook, draftsWorthwhile } from '../guesses/draft-choice.js';
import { DraftTimes, TimesBeyond } from '../guesses/measured-times.js';
import type { AskedDraft } from '../guesses/sequence-drafts.js';
import type { Roster } from './roster.js';
import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerConfig } from './scheduler-types.js';
import { type Answer, type StepInFlight, isCurrent } from './step-in-flight.js';
import { decodeGroups } from './step-sizes.js';

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

/** What became of guesses of another model since the start. */
export interface DraftFigures {
  /** How often the draft was asked by sequences that waited for it. */
  readonly asked: number;
  /** How often it answered too late, or nothing. */
  readonly missed: number;
  /** Guesses that steps computed, and how many of these were right. */
  readonly guessed: number;
  readonly confirmed: number;
}

/** Asked for where nothing is known of the draft, or it is tried whether it pays by now. */
const trialGuesses = 4;
/** Steps without guesses that must have been seen before any are asked for. */
const plainStepsMin = 4;
/** Guesses are waited for so many times as long as they usually take, and a moment in any case. */
const patience = 4;
const patienceMsMin = 5;
/** As which share of guesses is right where nothing is known, and as how many guesses what others had counts for a new sequence. */
const rateAssumed = 0.6;
const creditGuesses = 4;
const noLookup = { rate: 0, guesses: 0 } as const;

type DraftingConfig = Required<
  Pick<SchedulerConfig, 'stages' | 'guessesMax' | 'draftTokensMax' | 'stateSlots'>
>;

type Verdict =
  | { readonly kind: 'ask'; readonly count: number; readonly isTrial: boolean }
  /** They would not pay. */
  | { readonly kind: 'rest' }
  | { readonly kind: 'none' };
const none: Verdict = { kind: 'none' };

/**
 * Decides which sequences ask another model for guesses, how many, and how long they wait for them (decision 0048): as many as
 * give the most tokens per time by the times measured here and by how often guesses came true. Sequences that wait are no
 * longer ready, so that all others go on without them.
 */
export class Drafting {
  readonly #plain = new TimesBeyond();
  readonly #verified = new TimesBeyond();
  readonly #drafted = new DraftTimes();
  readonly #figures = { asked: 0, missed: 0, guessed: 0, confirmed: 0 };
  /** Share of guesses that were right of late, in all sequences. */
  #rate = rateAssumed;

  constructor(
    private readonly roster: Roster,
    private config: DraftingConfig,
    private curve: StepCurve,
  ) {}

  get figures(): DraftFigures {
    return { ...this.#figures };
  }

  reconfigure(config: DraftingConfig, curve: StepCurve): void {
    this.config = config;
    this.curve = curve;
  }

  /** When the first of those that wait waits no longer; null when nobody does. */
  get dueMs(): number | null {
    let due: number | null = null;
    for (const { drafts } of this.roster.guessing) due = Math.min(due ?? Infinity, drafts.asked?.dueMs ?? 0);
    return due;
  }

  /**
   * Ends waits that have become too long, and says what to ask the draft for. Whoever is asked for is not ready until `guessed`
   * brings an answer, or it is due. Prompts are among it that are yet to be computed, so that the draft does that beside.
   */
  wanted(nowMs: number): WantedGuesses[] {
    if (!this.#isOn) return [];
    for (const sequence of [...this.roster.guessing])
      if ((sequence.drafts.asked?.dueMs ?? 0) <= nowMs) this.#miss(sequence, nowMs);
    const wanted: WantedGuesses[] = [];
    for (const sequence of this.roster.prefilling)
      if (this.#isToWarm(sequence)) wanted.push(this.#warm(sequence, nowMs));
    // Beside a part of a prompt every row is dear.
    if (this.roster.prefilling.size > 0 || this.roster.waiting > 0) return wanted;
    for (const sequence of [...this.roster.ready]) {
      const asked = this.#ask(sequence, nowMs);
      if (asked) wanted.push(asked);
    }
    return wanted;
  }

  /** Guesses of a sequence behind so many known tokens; none where there is no answer. Late ones are dropped. */
  guessed(sequenceId: number, atTokens: number, tokens: Int32Array, nowMs: number): void {
    const sequence = this.roster.sequences.get(sequenceId);
    const isAwaited = sequence !== undefined && this.roster.guessing.has(sequence);
    const asked = sequence?.drafts.answered(atTokens, tokens);
    if (!sequence || !asked || !isAwaited) return;
    this.roster.becomesReady(sequence);
    if (tokens.length > 0) this.#drafted.observe(tokens.length, (nowMs - asked.askedMs) * 1000);
    else {
      this.#figures.missed += 1;
      sequence.drafts.rest(sequence.known.length);
    }
  }

  /** Whether one of these will ask for guesses once its next token is known. */
  isWantedNext(sequences: readonly Sequence[]): boolean {
    return (
      this.#isOn &&
      sequences.some(
        (sequence) => this.#verdict(sequence, sequence.known.length + 1, noLookup).kind === 'ask',
      )
    );
  }

  /** What a step brought of a sequence, before the sequence is told of it. */
  came(step: StepInFlight, { expected, output: { tokens } }: Answer, nowMs: number): void {
    const { sequence, guesses, isSampled } = expected;
    if (!this.#isOn || !isSampled || tokens.length === 0 || !isCurrent(this.roster, expected)) return;
    const guessed = guesses.tokens.length;
    if (guesses.by === 'draft') this.#judge(sequence, guessed, tokens.length - 1);
    const { plainMs } = sequence.drafts;
    sequence.drafts.plainMs = guessed > 0 ? null : nowMs;
    if (!step.isDecoding) return;
    const expectedMicros = this.#roundMicros(step.rows);
    if (guessed > 0) this.#verified.observe((nowMs - step.sentMs) * 1000, expectedMicros);
    else if (plainMs !== null) this.#plain.observe((nowMs - plainMs) * 1000, expectedMicros);
  }

  get #isOn(): boolean {
    return this.config.draftTokensMax > 0 && this.config.guessesMax > 0;
  }

  #judge(sequence: Sequence, guessed: number, confirmed: number): void {
    this.#figures.guessed += guessed;
    this.#figures.confirmed += confirmed;
    sequence.drafts.acceptance(this.#credit).judged(guessed, confirmed);
    const trials = Math.min(guessed, confirmed + 1);
    const keep = 0.98 ** trials;
    this.#rate = this.#rate * keep + (confirmed / trials) * (1 - keep);
  }

  get #credit(): { readonly hits: number; readonly misses: number } {
    return { hits: creditGuesses * this.#rate, misses: creditGuesses * (1 - this.#rate) };
  }

  #miss(sequence: Sequence, nowMs: number): void {
    const { drafts, known } = sequence;
    // Another time it will be waited for so long only if that pays.
    if (drafts.asked) this.#drafted.observe(drafts.asked.count, (nowMs - drafts.asked.askedMs) * 1000);
    this.#figures.missed += 1;
    drafts.giveUp();
    drafts.rest(known.length);
    this.roster.becomesReady(sequence);
  }

  #isToWarm(sequence: Sequence): boolean {
    const { drafts, known, pooling } = sequence;
    return !drafts.isWarm && pooling === null && this.#countMax(sequence, known.length + 1) > 0;
  }

  #warm(sequence: Sequence, nowMs: number): WantedGuesses {
    const timeoutMs = deadlines.draftPromptMs;
    const asked = { atTokens: sequence.known.length, count: 1, askedMs: nowMs, dueMs: nowMs + timeoutMs };
    sequence.drafts.warm(asked);
    return wantedOf(sequence, asked, timeoutMs);
  }

  #ask(sequence: Sequence, nowMs: number): WantedGuesses | null {
    const { drafts, known, lookup } = sequence;
    // What the draft was to begin with takes too long.
    if (drafts.asked && drafts.asked.dueMs <= nowMs) drafts.giveUp();
    if (!drafts.mayAsk(known.length)) return null;
    const found = lookup.guess(this.#countMax(sequence, known.length));
    const byLookup = { rate: sequence.acceptance.rate, guesses: found.length };
    const verdict = this.#verdict(sequence, known.length, byLookup);
    switch (verdict.kind) {
      case 'none':
        return null;
      case 'rest':
        drafts.rest(known.length);
        return null;
      case 'ask':
        break;
      default:
        verdict satisfies never;
    }
    const { count, isTrial } = verdict;
    if (!isTrial) drafts.goOn();
    if (found.length > 0) sequence.acceptance.foresaw(found[0] ?? 0);
    const timeoutMs = this.#patienceMs(count);
    const asked = { atTokens: known.length, count, askedMs: nowMs, dueMs: nowMs + timeoutMs };
    drafts.ask(asked);
    drafts.plainMs = null;
    this.#figures.asked += 1;
    this.roster.awaitsGuesses(sequence);
    return wantedOf(sequence, asked, timeoutMs);
  }

  #patienceMs(count: number): number {
    const micros = this.#drafted.micros(count);
    if (micros === null) return deadlines.guessesMs;
    return Math.min(deadlines.guessesMs, Math.max(patienceMsMin, (patience * micros) / 1000));
  }

  /** How many guesses a sequence may have behind so many known tokens. */
  #countMax({ again, tokensMax }: Sequence, knownTokens: number): number {
    const { guessesMax, draftTokensMax } = this.config;
    // The last token of the output is never computed, so nothing is guessed behind it.
    return Math.max(
      0,
      Math.min(guessesMax - again, tokensMax - knownTokens - 1, draftTokensMax - knownTokens),
    );
  }

  #verdict(sequence: Sequence, knownTokens: number, lookup: DraftOutlook['lookup']): Verdict {
    const { drafts } = sequence;
    const countMax = this.#countMax(sequence, knownTokens);
    if (countMax === 0 || !drafts.mayAsk(knownTokens) || this.#plain.observed < plainStepsMin) return none;
    const trial = { kind: 'ask', count: Math.min(trialGuesses, countMax), isTrial: true } as const;
    if (this.#drafted.micros(1) === null) return trial;
    const choice = draftsWorthwhile(this.#outlook(sequence, countMax, lookup));
    switch (choice.by) {
      case 'draft':
        return { kind: 'ask', count: choice.count, isTrial: false };
      case 'lookup':
        return none;
      case 'nobody':
        return drafts.isTrialDue ? trial : { kind: 'rest' };
      default:
        return choice satisfies never;
    }
  }

  #outlook(sequence: Sequence, countMax: number, lookup: DraftOutlook['lookup']): DraftOutlook {
    const { decoding } = this.roster;
    const rows = Math.ceil(decoding / decodeGroups(decoding, this.config.stages, this.curve));
    const expectedMicros = (guesses: number): number => this.#roundMicros(rows * (1 + guesses));
    const way = this.#verified.observed > 0 ? this.#verified : this.#plain;
    return {
      rate: sequence.drafts.acceptance(this.#credit).rate,
      lookup,
      countMax,
      repeated: this.config.stateSlots > 0 ? Math.max(1, sequence.pending) : null,
      plainMicros: this.#plain.micros(expectedMicros(0)),
      verifyMicros: (guesses) => way.micros(expectedMicros(guesses)),
      repeatMicros: (more) => this.#roundMicros(rows + more) - this.#roundMicros(rows),
      draftMicros: (guesses) => this.#drafted.micros(guesses) ?? 0,
    };
  }

  /** Until a sequence has its next token, when all steps have so many rows: time in stages alone. */
  #roundMicros(rows: number): number {
    const { stages } = this.config;
    const groups = decodeGroups(this.roster.decoding, stages, this.curve);
    return Math.max(groups, stages) * this.curve.micros(rows);
  }
}

function wantedOf(sequence: Sequence, { atTokens, count }: AskedDraft, timeoutMs: number): WantedGuesses {
  const { id: sequenceId, known, draw, priority, tenant } = sequence;
  return { sequenceId, known: known.slice(0, atTokens), count, ...draw, priority, tenant, timeoutMs };
}
