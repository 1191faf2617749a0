import { type StepCurve, deadlines } from '@butterfly/common';
import {
  type DraftCandidate,
  type RoundTimes,
  draftsWorthwhile,
  prefersLookup,
} from '../guesses/draft-choice.js';
import { DraftTimes, TimesBeyond } from '../guesses/measured-times.js';
import type { Guesses } from '../guesses/guesses.js';
import { Resting } from '../guesses/resting.js';
import type { AskedDraft } from '../guesses/sequence-drafts.js';
import type { DraftFigures, WantedGuesses, WantsGuesses } from '../guesses/wanted-guesses.js';
import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerConfig } from './scheduler-types.js';
import { decodeGroups } from './step-sizes.js';

/** What a step tried behind the known tokens of a sequence. */
interface TriedGuesses {
  readonly sequence: Sequence;
  readonly guesses: Guesses;
}

/** Who lives and what becomes of them: a part of `Roster`. */
interface DraftingSequences {
  readonly sequences: ReadonlyMap<number, Sequence>;
  readonly prefilling: ReadonlySet<Sequence>;
  readonly ready: ReadonlySet<Sequence>;
  readonly guessing: ReadonlySet<Sequence>;
  readonly waiting: number;
  readonly decoding: number;
  becomesReady(sequence: Sequence): void;
  awaitsGuesses(sequence: Sequence): void;
}

/** Asked for where nothing is known of the draft, or it is tried whether it pays by now; and how often in a row. */
const trialGuesses = 4;
const trialsInARow = 4;
/** Tokens without guesses that must have been seen before any are asked for. */
const plainTokensMin = 4;
/** Guesses are waited for so many times as long as they usually take, and a moment in any case. */
const patience = 4;
const patienceMsMin = 5;
/** As which share of guesses is right where nothing is known, and as how many guesses what others had counts for a new sequence. */
const rateAssumed = 0.6;
const creditGuesses = 4;
/** A sequence whose guesses are right more seldom takes no part, as its rows cost the others time. */
const rateMin = 0.15;

type DraftingConfig = Required<
  Pick<SchedulerConfig, 'stages' | 'guessesMax' | 'draftTokensMax' | 'stateSlots'>
>;

/**
 * Decides which sequences ask another model for guesses, how many, and how long they wait for them (decision 0048): as many as
 * give the most tokens per time by the times measured here and by how often guesses came true. Sequences that wait are no
 * longer ready, so that all others go on without them.
 */
export class Drafting implements WantsGuesses {
  /** From one token of a sequence to the next, without guesses and with such of the draft. */
  readonly #plain = new TimesBeyond();
  readonly #guessed = new TimesBeyond();
  readonly #drafted = new DraftTimes();
  /** After rounds that did not pay, by tokens of all sequences. */
  readonly #resting = new Resting();
  #trialsDue = trialsInARow;
  #plainTokens = 0;
  readonly #figures = { asked: 0, missed: 0, guessed: 0, confirmed: 0, headGuessed: 0, headConfirmed: 0 };
  /** Share of guesses that were right of late, in all sequences. */
  #rate = rateAssumed;

  constructor(
    private readonly roster: DraftingSequences,
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
    const group = this.#group(nowMs);
    const count = this.#count(group, 0);
    if (count === 0) return wanted;
    if (this.#trialsDue > 0) this.#trialsDue -= 1;
    for (const sequence of group) wanted.push(this.#ask(sequence, count, nowMs));
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
      sequence.drafts.resting.rest(sequence.known.length);
    }
  }

  /** Whether these, all or some, will ask for guesses once their next tokens are known. */
  isWantedNext(sequences: readonly Sequence[]): boolean {
    if (!this.#isOn) return false;
    return (
      this.#count(
        sequences.filter((sequence) => this.#mayAsk(sequence, 1)),
        1,
      ) > 0
    );
  }

  /**
   * So many tokens are the next ones of a sequence, which is yet to be told of them.
   * @param isDecoding whether the step that gave them had no part of a prompt
   */
  came({ sequence, guesses }: TriedGuesses, tokens: number, isDecoding: boolean, nowMs: number): void {
    if (guesses.by === 'head' && tokens > 0) {
      this.#figures.headGuessed += guesses.tokens.length;
      this.#figures.headConfirmed += tokens - 1;
    }
    if (!this.#isOn || tokens === 0) return;
    const { tokenMs } = sequence.drafts;
    sequence.drafts.tokenMs = nowMs;
    const guessed = guesses.tokens.length;
    const isDrafted = guesses.by === 'draft' && guessed > 0;
    if (isDrafted) this.#judge(sequence, guessed, tokens - 1);
    else this.#plainTokens += 1;
    // What it waited for in vain is no part of either.
    const isWaiting = sequence.drafts.wasAskedAt(sequence.known.length);
    if (!isDecoding || tokenMs === null) return;
    const micros = (nowMs - tokenMs) * 1000;
    if (isDrafted) this.#guessed.observe(micros, this.#draftRoundMicros(guessed));
    else if (guessed === 0 && !isWaiting) this.#plain.observe(micros, this.#roundMicros(1));
  }

  get #isOn(): boolean {
    return this.config.draftTokensMax > 0 && this.config.guessesMax > 0;
  }

  #judge(sequence: Sequence, guessed: number, confirmed: number): void {
    this.#figures.guessed += guessed;
    this.#figures.confirmed += confirmed;
    sequence.drafts.acceptance(this.#credit).judged(guessed, confirmed);
    if (sequence.drafts.acceptance(this.#credit).rate < rateMin)
      sequence.drafts.resting.rest(sequence.known.length);
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
    drafts.resting.rest(known.length);
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

  /** Those that are ready and could ask, but for those that lookup or the model's own head guesses better for. */
  #group(nowMs: number): Sequence[] {
    const times = this.#times();
    return [...this.roster.ready].filter((sequence) => {
      const { drafts, lookup, acceptance, head, known } = sequence;
      // What the draft was to begin with takes too long.
      if (drafts.asked && drafts.asked.dueMs <= nowMs) drafts.giveUp();
      if (!this.#mayAsk(sequence, 0)) return false;
      const candidate = this.#candidate(sequence, 0);
      const atOnce = [
        { rate: acceptance.rate, countMax: lookup.guess(candidate.countMax).length },
        { rate: head.acceptance.rate, countMax: head.at(known.length, candidate.countMax).length },
      ];
      return !atOnce.some(
        (each) => each.countMax > 0 && prefersLookup(candidate, { ...candidate, ...each }, times),
      );
    });
  }

  /** @param more tokens that will be known by then */
  #mayAsk(sequence: Sequence, more: number): boolean {
    const knownTokens = sequence.known.length + more;
    return sequence.drafts.mayAsk(knownTokens) && this.#countMax(sequence, knownTokens) > 0;
  }

  /** How many guesses each of these is to ask for; 0 for none. Where they do not pay, it is tried after a while whether they do by then. */
  #count(group: readonly Sequence[], more: number): number {
    if (group.length === 0 || this.#plain.observed < plainTokensMin) return 0;
    if (this.#resting.isResting(this.#plainTokens)) return 0;
    const candidates = group.map((sequence) => this.#candidate(sequence, more));
    const trial = Math.min(trialGuesses, Math.max(...candidates.map(({ countMax }) => countMax)));
    if (this.#drafted.observed === 0) return trial;
    const count = draftsWorthwhile(candidates, this.#times());
    if (count > 0) this.#resting.reset();
    if (count > 0 || this.#trialsDue > 0) return count || trial;
    this.#resting.rest(this.#plainTokens, Math.max(1, this.roster.decoding));
    this.#trialsDue = trialsInARow;
    return 0;
  }

  #ask(sequence: Sequence, countMax: number, nowMs: number): WantedGuesses {
    const { drafts, known, lookup, acceptance } = sequence;
    const [foreseen] = lookup.guess(1);
    if (foreseen !== undefined) acceptance.foresaw(foreseen);
    const count = Math.min(countMax, this.#candidate(sequence, 0).countMax);
    const timeoutMs = this.#patienceMs(count);
    const asked = { atTokens: known.length, count, askedMs: nowMs, dueMs: nowMs + timeoutMs };
    drafts.ask(asked);
    this.#figures.asked += 1;
    this.roster.awaitsGuesses(sequence);
    return wantedOf(sequence, asked, timeoutMs);
  }

  #patienceMs(count: number): number {
    const micros = this.#drafted.micros(count) ?? Infinity;
    // Beyond that they cannot pay, were they all right.
    const most = (1 + this.config.guessesMax) * this.#times().plainMicros;
    const waitMs = Math.min(patience * micros, most) / 1000;
    return Math.min(deadlines.guessesMs, Math.max(patienceMsMin, waitMs));
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

  #candidate(sequence: Sequence, more: number): DraftCandidate {
    return {
      rate: sequence.drafts.acceptance(this.#credit).rate,
      countMax: this.#countMax(sequence, sequence.known.length + more),
      repeated: this.config.stateSlots > 0 ? Math.max(1, sequence.pending) : null,
    };
  }

  #times(): RoundTimes {
    const plainMicros = this.#plain.micros(this.#roundMicros(1));
    const isKnown = this.#guessed.observed > 0;
    // Links and queues, as they are with guesses of late.
    const way = isKnown ? this.#guessed : this.#plain;
    return {
      // Where all have guesses, nobody shows what a round without takes by now; that is no more than one with none.
      plainMicros: isKnown ? Math.min(plainMicros, way.micros(this.#roundMicros(1))) : plainMicros,
      verifyMicros: (guesses) => this.#plain.micros(this.#roundMicros(1 + guesses)),
      draftMicros: (guesses) => way.micros(this.#draftRoundMicros(guesses)),
      repeatMicros: (rows) => this.#roundMicros(1 + rows) - this.#roundMicros(1),
    };
  }

  /** Until guesses of the draft are there and judged. */
  #draftRoundMicros(guesses: number): number {
    return (this.#drafted.micros(guesses) ?? 0) + this.#roundMicros(1 + guesses);
  }

  /** Until every sequence has had a step, where all have so many rows in it: time in stages alone. */
  #roundMicros(rowsOfEach: number): number {
    const { stages } = this.config;
    const { decoding } = this.roster;
    const groups = decodeGroups(decoding, stages, this.curve);
    return Math.max(groups, stages) * this.curve.micros(Math.ceil(decoding / groups) * rowsOfEach);
  }
}

function wantedOf(sequence: Sequence, { atTokens, count }: AskedDraft, timeoutMs: number): WantedGuesses {
  const { id: sequenceId, known, draw, priority, tenant } = sequence;
  return { sequenceId, known: known.slice(0, atTokens), count, ...draw, priority, tenant, timeoutMs };
}
