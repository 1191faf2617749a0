import { limits, percentiles } from '@butterfly/common';
import type { LoadRecord } from './record.js';

/** What most, nine of ten, and all but the unluckiest see. */
export interface LoadPercentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** What came of a load test; what there is no sample of is null. */
export interface LoadReport {
  readonly requests: Readonly<Record<'planned' | 'sent' | 'answered' | 'failed' | 'stopped', number>>;
  /** From when the first request was to be sent to the end of the last one. */
  readonly seconds: number;
  /** As the server counts them; null where it does not. */
  readonly inputTokens: number | null;
  readonly outputTokens: number;
  /** By the usage of the server where a stream has it, else each piece of text counts as one token. */
  readonly tokensCountedBy: 'usage' | 'pieces' | 'usage and pieces' | null;
  readonly tokensPerSecond: number | null;
  readonly requestsPerSecond: number | null;
  /** Of each stream after its first token. */
  readonly streamTokensPerSecond: LoadPercentiles | null;
  readonly firstTokenMs: LoadPercentiles | null;
  /** Between pieces of text one after the other; a piece is mostly one token. */
  readonly betweenTokensMs: LoadPercentiles | null;
  /** Of answered requests. */
  readonly endToEndMs: LoadPercentiles | null;
  readonly errors: Readonly<Record<string, number>>;
}

/** Gathers what clients saw, as numbers alone. */
export class LoadTally {
  readonly #firstTokenMs: number[] = [];
  readonly #betweenTokensMs: number[] = [];
  readonly #endToEndMs: number[] = [];
  readonly #streamTokensPerSecond: number[] = [];
  readonly #errors = new Map<string, number>();
  readonly #counts = { answered: 0, failed: 0, stopped: 0 };
  readonly #countedBy = { usage: 0, pieces: 0 };
  #inputTokens = 0;
  #outputTokens = 0;
  #startMs = Infinity;
  #endMs = -Infinity;

  add({ startMs, endMs, piecesMs, pieces, usage, outcome }: LoadRecord): void {
    this.#counts[outcome.kind] += 1;
    this.#startMs = Math.min(this.#startMs, startMs);
    this.#endMs = Math.max(this.#endMs, endMs);
    const tokens = usage?.outputTokens ?? pieces;
    if (usage || pieces > 0) this.#countedBy[usage ? 'usage' : 'pieces'] += 1;
    this.#inputTokens += usage?.inputTokens ?? 0;
    this.#outputTokens += tokens;
    const [firstMs] = piecesMs;
    if (firstMs !== undefined) this.#firstTokenMs.push(firstMs - startMs);
    piecesMs.forEach((atMs, index) => {
      const beforeMs = piecesMs[index - 1];
      if (beforeMs !== undefined) this.#betweenTokensMs.push(atMs - beforeMs);
    });
    if (outcome.kind === 'answered') {
      this.#endToEndMs.push(endMs - startMs);
      const elapsedMs = endMs - (firstMs ?? endMs);
      if (tokens > 1 && elapsedMs > 0) this.#streamTokensPerSecond.push(((tokens - 1) * 1000) / elapsedMs);
    } else if (outcome.kind === 'failed') this.#countError(outcome.code);
  }

  #countError(given: string): void {
    const code = given.slice(0, limits.loadTestErrorCodeCharactersMax);
    const isNew = !this.#errors.has(code);
    const name = isNew && this.#errors.size >= limits.loadTestErrorCodesMax - 1 ? 'others' : code;
    this.#errors.set(name, (this.#errors.get(name) ?? 0) + 1);
  }

  /** @param planned requests, of which some were not sent where it was stopped */
  report(planned: number): LoadReport {
    const { answered, failed, stopped } = this.#counts;
    const seconds = Math.max(0, this.#endMs - this.#startMs) / 1000;
    const perSecond = (count: number): number | null => (seconds > 0 ? count / seconds : null);
    const { usage, pieces } = this.#countedBy;
    const mixed = usage > 0 ? ('usage and pieces' as const) : ('pieces' as const);
    return {
      requests: { planned, sent: answered + failed + stopped, answered, failed, stopped },
      seconds,
      inputTokens: usage > 0 ? this.#inputTokens : null,
      outputTokens: this.#outputTokens,
      tokensCountedBy: pieces > 0 ? mixed : usage > 0 ? 'usage' : null,
      tokensPerSecond: perSecond(this.#outputTokens),
      requestsPerSecond: perSecond(answered),
      streamTokensPerSecond: percentilesOf(this.#streamTokensPerSecond),
      firstTokenMs: percentilesOf(this.#firstTokenMs),
      betweenTokensMs: percentilesOf(this.#betweenTokensMs),
      endToEndMs: percentilesOf(this.#endToEndMs),
      errors: Object.fromEntries(this.#errors),
    };
  }
}

function percentilesOf(values: readonly number[]): LoadPercentiles | null {
  if (values.length === 0) return null;
  const [p50 = NaN, p90 = NaN, p99 = NaN] = percentiles(values, [50, 90, 99]);
  return { p50, p90, p99 };
}
