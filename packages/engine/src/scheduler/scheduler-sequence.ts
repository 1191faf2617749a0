import type { Pooling, SamplingParams, SequenceConstraint } from '@butterfly/wire';
import { DryWindow } from './dry-window.js';
import { PromptScores } from './prompt-scores.js';
import { PromptLookup } from './prompt-lookup.js';
import type { SchedulerRequest } from './scheduler-types.js';
import { noTokens, TokenList } from '../kv/token-list.js';
import { nobody } from '../queue/tenant-shares.js';
import { Acceptance } from '../guesses/acceptance.js';
import { type Guesses, noGuesses } from '../guesses/guesses.js';
import { HeadGuesses } from '../guesses/head-guesses.js';
import { SequenceDrafts } from '../guesses/sequence-drafts.js';
import type { RequestTiming } from '../types.js';

/** What one step of `priority` counts in waiting, and how long before its deadline a request goes before others. */
const rankStepMs = 10_000;

/** Whether a step must hold a text as a whole, whose embedding is pooled so. */
export function takesWhole(pooling: Pooling | null, isEncoder: boolean): boolean {
  return isEncoder || pooling === 'mean' || pooling === 'cls';
}

/** One request in the scheduler: what is known of it, and how far the pipeline has been told to cache it. */
export class Sequence {
  readonly id: number;
  /** How its embedding is pooled, which is all that is wanted of it; null where tokens are. */
  readonly pooling: Pooling | null;
  /** Whether a step must hold it as a whole: all of its rows are pooled, or see each other. */
  readonly isWhole: boolean;
  /** How many of the likeliest tokens are told of with each; null for none of it. */
  readonly logprobs: number | null;
  /** Null where no token of the prompt is to be told. */
  readonly scores: PromptScores | null;
  readonly priority: number;
  /** Whether another worker is to compute its steps too, of which none must be missing. */
  readonly isVerified: boolean;
  /** On whose behalf; `nobody` where nobody is named. */
  readonly tenant: string;
  readonly deadlineMs: number;
  /** Those with the lower rank go first. It never changes, so everybody's turn comes. */
  readonly rank: number;
  /** Prompt, then output. */
  readonly known: TokenList;
  /** Known tokens when the sequence has its full output. */
  readonly tokensMax: number;
  readonly lookup: PromptLookup;
  /** How often guesses by lookup come true. */
  readonly acceptance = new Acceptance();
  readonly drafts = new SequenceDrafts();
  readonly head = new HeadGuesses();
  /** Its region of the arena; null while it waits. */
  regionId: number | null = null;
  /** Behind how many known tokens its steps end, so that the state is kept; ascending, and empty in models without states. */
  cuts: readonly number[] = [];
  /** Tokens cached or on the way to be, guesses included; the stages cache them in that order. */
  scheduled = 0;
  /** Of its pending tokens, how many were decoded before: they are computed again, as the state behind them is not there. */
  again = 0;
  /** How many steps in flight will bring a token of it; more than one only when a step went ahead of the tokens. */
  awaited = 0;
  /** The latest step that brings a token of it; of meaning only while one is awaited. */
  samplingStepId = -1;
  /** How often it lost its region: what older steps bring must not be mixed with what newer ones compute. */
  life = 0;
  readonly #constraintId: number | undefined;
  /** In which life the last stage was told the output so far; since then it samples itself what is new. */
  #constrainedLife = -1;
  readonly #sampling: SamplingParams;
  readonly #dry: DryWindow | null;
  readonly #stopTokens: ReadonlySet<number>;
  readonly #promptTokens: number;
  readonly #submittedMs: number;
  #startedMs: number | null = null;
  #firstTokenMs: number | null = null;
  #cachedPromptTokens: number | null = null;
  #isGuessed = false;

  /** @param isEncoder whether tokens of the model see those that come later, and nothing is cached. */
  constructor(
    request: SchedulerRequest,
    private readonly isEncoder = false,
  ) {
    this.id = request.id;
    this.#sampling = request.sampling;
    this.#dry = request.sampling.dry && new DryWindow(request.sampling.dry);
    this.pooling = request.pooling ?? null;
    this.isWhole = takesWhole(this.pooling, isEncoder);
    this.logprobs = request.logprobs;
    this.priority = request.priority;
    this.isVerified = request.isVerified ?? false;
    this.tenant = request.tenant ?? nobody;
    this.deadlineMs = request.deadlineMs;
    this.rank = Math.min(request.nowMs + request.priority * rankStepMs, request.deadlineMs - rankStepMs);
    this.known = new TokenList(request.promptTokens);
    this.scores =
      request.promptLogprobs === null ? null : new PromptScores(this.known, request.promptLogprobs);
    this.tokensMax = request.promptTokens.length + request.outputTokensMax;
    this.lookup = new PromptLookup(this.known);
    this.#constraintId = request.constraintId;
    this.#stopTokens = request.stopTokens;
    this.#promptTokens = request.promptTokens.length;
    this.#submittedMs = request.nowMs;
  }

  /** Whether nothing more is to be said, which from the start is so where only the prompt was of interest. */
  get isFull(): boolean {
    return this.known.length >= this.tokensMax;
  }

  /** Slots of the arena that it needs to run: for what is known, and for a token more if there will be one. */
  get slotsMin(): number {
    return Math.min(this.known.length + 1, this.tokensMax);
  }

  /** Known tokens that no step has carried yet. */
  get pending(): number {
    return Math.max(0, this.known.length - this.scheduled);
  }

  /** Of those, how many one step may take: up to the next cut. */
  get pendingToCut(): number {
    const cut = this.cuts.find((position) => position > this.scheduled) ?? Infinity;
    return Math.min(this.pending, cut - this.scheduled);
  }

  /** Known tokens that are cached or on the way to be. */
  get cached(): number {
    return this.isEncoder ? 0 : Math.min(this.known.length, this.scheduled);
  }

  /** Tokens of the prompt that it found in the cache when it first ran. */
  get cachedPromptTokens(): number {
    return this.#cachedPromptTokens ?? 0;
  }

  /**
   * How many of its known tokens it may find cached: one at least is left to compute, and all whose rows score others.
   * Where states cannot step back, a prompt's last token must not be left alone, see `entered`. Of an embedding none, so that
   * it depends on its text alone: what was decoded has other last bits than the same tokens of a prompt.
   */
  prefixMax(canStepBack: boolean): number {
    if (this.pooling !== null || this.isVerified) return 0;
    const isPrompt = this.known.length === this.#promptTokens;
    const computed = isPrompt && !canStepBack ? 2 : 1;
    return Math.max(0, Math.min(this.known.length - computed, this.scores?.prefixMax ?? Infinity));
  }

  /** It holds a region whose first tokens are cached already. */
  entered(cachedTokens: number, canStepBack: boolean): void {
    // A prompt's last token alone would be computed as what is decoded: with the one before it, it is a part of a prompt.
    const isPromptEnd = canStepBack && cachedTokens === this.#promptTokens - 1;
    this.scheduled = isPromptEnd ? Math.max(0, cachedTokens - 1) : cachedTokens;
    this.scores?.restart();
    this.#cachedPromptTokens ??= Math.min(cachedTokens, this.#promptTokens);
  }

  /** It holds no region any more and computes everything again. */
  left(): void {
    this.scheduled = 0;
    this.again = 0;
    this.awaited = 0;
    this.life += 1;
    this.drafts.giveUp();
  }

  /** A step computes its tokens up to `end` and guesses behind them. */
  dispatched(stepId: number, end: number, guesses: number, isSampled: boolean, nowMs: number): void {
    this.scheduled = end + guesses;
    this.again = 0;
    if (isSampled) {
      this.awaited += 1;
      this.samplingStepId = stepId;
      this.#constrainedLife = this.life;
    }
    this.#isGuessed = guesses > 0;
    this.#startedMs ??= nowMs;
  }

  /** Its next step computes what is behind the first `from` tokens, although it is decided what the first `computed` give. */
  goesOn(from: number, computed: number): void {
    this.scheduled = from;
    this.again = computed - from;
  }

  /** Takes the next token and says why the sequence ends with it, if it does; a stop token stays unknown. */
  extend(token: number, nowMs: number): 'stop' | 'length' | null {
    this.#firstTokenMs ??= nowMs;
    if (this.#stopTokens.has(token)) return 'stop';
    this.known.push(token);
    return this.known.length === this.tokensMax ? 'length' : null;
  }

  /** Its embedding is there. */
  embedded(nowMs: number): void {
    this.#firstTokenMs ??= nowMs;
  }

  /** Whether its next token may be computed before the one under way is known: penalties and guesses need to know it. */
  get mayGoAhead(): boolean {
    return this.awaited === 1 && !this.#isGuessed && !this.#hasPenalties;
  }

  get #hasPenalties(): boolean {
    return this.#lookback > 0;
  }

  /** How many of the last tokens penalties and DRY look at. */
  get #lookback(): number {
    const { repeatPenalty, frequencyPenalty, presencePenalty, penaltyLastN, dry } = this.#sampling;
    const isPenalised = repeatPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
    return Math.max(isPenalised ? penaltyLastN : 0, dry?.lastN ?? 0);
  }

  /** What the penalties need to know; empty when none is active. */
  recentTokens(): Int32Array {
    const lookback = this.#lookback;
    if (lookback === 0) return noTokens;
    return this.known.slice(Math.max(0, this.known.length - lookback), this.known.length);
  }

  /** What a step needs to know of how to sample, with these recent tokens and guesses in it. */
  samplingOf(recentTokens: Int32Array, guesses: Int32Array): SamplingParams {
    if (this.#dry === null) return this.#sampling;
    return { ...this.#sampling, dry: this.#dry.within(recentTokens, guesses) };
  }

  /** Known output that the next step which samples it tells the last stage, for its constraint. */
  get constraintTokens(): number {
    const isTold = this.#constraintId === undefined || this.#constrainedLife === this.life;
    return isTold ? 0 : this.known.length - this.#promptTokens;
  }

  /** What the last stage holds its next token to; null for nothing. */
  constraint(): SequenceConstraint | null {
    if (this.#constraintId === undefined) return null;
    const start = this.#promptTokens;
    const isTold = this.#constrainedLife === this.life;
    return {
      id: this.#constraintId,
      start,
      tokens: isTold ? null : this.known.slice(start, this.known.length),
    };
  }

  /** Those that another model has for it now, at most so many. */
  draftGuesses(guessesMax: number): Guesses {
    const tokens = this.drafts.guessesAt(this.known.length);
    if (tokens.length === 0) return noGuesses;
    const most = Math.min(guessesMax - this.again, this.tokensMax - this.known.length - 1);
    return { by: 'draft', tokens: tokens.subarray(0, Math.max(0, most)) };
  }

  /** What another model must know that is to guess as this one draws. */
  get draw(): { readonly sampling: SamplingParams; readonly stopTokens: ReadonlySet<number> } {
    return { sampling: this.#sampling, stopTokens: this.#stopTokens };
  }

  timing(nowMs: number): RequestTiming {
    return {
      queuedMs: (this.#startedMs ?? nowMs) - this.#submittedMs,
      firstTokenMs: (this.#firstTokenMs ?? nowMs) - this.#submittedMs,
      totalMs: nowMs - this.#submittedMs,
    };
  }
}
