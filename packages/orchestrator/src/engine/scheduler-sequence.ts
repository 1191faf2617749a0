import type { SamplingParams } from '@butterfly/common';
import type { SchedulerRequest } from './scheduler-types.js';
import type { RequestTiming } from './types.js';

/** Penalties look back this many tokens. */
const recentTokensMax = 64;

/** A list of token ids that grows at its end. */
export class TokenList {
  #tokens: Int32Array;
  #length: number;

  constructor(tokens: Int32Array) {
    this.#tokens = Int32Array.from(tokens);
    this.#length = tokens.length;
  }

  get length(): number {
    return this.#length;
  }

  push(token: number): void {
    if (this.#length === this.#tokens.length) {
      const larger = new Int32Array(Math.max(16, this.#length * 2));
      larger.set(this.#tokens);
      this.#tokens = larger;
    }
    this.#tokens[this.#length] = token;
    this.#length += 1;
  }

  /** A copy, so that a step never changes after it was formed. */
  slice(start: number, end: number): Int32Array {
    return this.#tokens.slice(start, Math.min(end, this.#length));
  }
}

/** One request in the scheduler: what is known of it, and how far the pipeline has been told to cache it. */
export class Sequence {
  readonly id: number;
  readonly sampling: SamplingParams;
  readonly deadlineMs: number;
  /** Prompt, then output. */
  readonly known: TokenList;
  /** Known tokens when the sequence has its full output. */
  readonly tokensMax: number;
  /** Tokens dispatched since the last start from nothing; the stages cache them in that order. */
  scheduled = 0;
  /** The last step that it took part in. */
  lastStepId = -1;
  readonly #stopTokens: ReadonlySet<number>;
  readonly #submittedMs: number;
  #startedMs: number | null = null;
  #firstTokenMs: number | null = null;

  constructor(request: SchedulerRequest) {
    this.id = request.id;
    this.sampling = request.sampling;
    this.deadlineMs = request.deadlineMs;
    this.known = new TokenList(request.promptTokens);
    this.tokensMax = request.promptTokens.length + request.outputTokensMax;
    this.#stopTokens = request.stopTokens;
    this.#submittedMs = request.nowMs;
  }

  /** Known tokens that no step has carried yet. */
  get pending(): number {
    return this.known.length - this.scheduled;
  }

  dispatched(stepId: number, end: number, nowMs: number): void {
    this.lastStepId = stepId;
    this.scheduled = end;
    this.#startedMs ??= nowMs;
  }

  /** Takes the next token and says why the sequence ends with it, if it does; a stop token stays unknown. */
  extend(token: number, nowMs: number): 'stop' | 'length' | null {
    this.#firstTokenMs ??= nowMs;
    if (this.#stopTokens.has(token)) return 'stop';
    this.known.push(token);
    return this.known.length === this.tokensMax ? 'length' : null;
  }

  /** What the penalties need to know; empty when none is active. */
  recentTokens(): Int32Array {
    const { repeatPenalty, frequencyPenalty, presencePenalty } = this.sampling;
    if (repeatPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0) return new Int32Array(0);
    return this.known.slice(Math.max(0, this.known.length - recentTokensMax), this.known.length);
  }

  timing(nowMs: number): RequestTiming {
    return {
      queuedMs: (this.#startedMs ?? nowMs) - this.#submittedMs,
      firstTokenMs: (this.#firstTokenMs ?? nowMs) - this.#submittedMs,
      totalMs: nowMs - this.#submittedMs,
    };
  }
}
