import type { ButterflyError, EventOf } from '@butterfly/common';
import type { RequestState, RequestTimeline, RequestView } from '../view/request-view.js';
import { SequenceRecord } from './sequence-record.js';

/** All that is known of one request. */
export class RequestRecord {
  readonly sequences: SequenceRecord[] = [];
  #begun:
    (Pick<EventOf<'requestBegun'>, 'tenant' | 'promptTokens'> & { readonly modelId: string | null }) | null =
    null;
  #endedMs: number | null = null;
  #error: { readonly code: string; readonly message: string } | null = null;
  #cachedTokens = 0;
  #firstTokenAtMs: number | null = null;
  #lastTokenAtMs: number | null = null;
  #outputTokens = 0;
  #replays = 0;
  /** Grows whenever something of it changes: as a count of changes of all. */
  changedAt = 0;

  constructor(
    readonly id: string,
    private readonly route: string,
    private readonly startedMs: number,
  ) {}

  get isBegun(): boolean {
    return this.#begun !== null;
  }

  get isOver(): boolean {
    return this.#endedMs !== null;
  }

  begun({ tenant, promptTokens, modelId }: EventOf<'requestBegun'>): void {
    this.#begun = { tenant, promptTokens, modelId: modelId ?? null };
  }

  sequence(promptTokens: number, nowMs: number): SequenceRecord {
    const record = new SequenceRecord(this.sequences.length, promptTokens, this.startedMs, nowMs);
    this.sequences.push(record);
    return record;
  }

  /** @returns milliseconds since its arrival for its first tokens; for others, since those before */
  came(tokens: number, nowMs: number): { readonly isFirst: boolean; readonly waitedMs: number } {
    const beforeMs = this.#lastTokenAtMs;
    this.#firstTokenAtMs ??= nowMs;
    this.#lastTokenAtMs = nowMs;
    this.#outputTokens += tokens;
    return { isFirst: beforeMs === null, waitedMs: nowMs - (beforeMs ?? this.startedMs) };
  }

  foundCached(tokens: number): void {
    this.#cachedTokens += tokens;
  }

  replayed(): void {
    this.#replays += 1;
  }

  failed({ code, message }: ButterflyError): void {
    this.#error = { code, message };
  }

  /** @returns how long it took */
  ended(nowMs: number): number {
    this.#endedMs ??= nowMs;
    return this.#endedMs - this.startedMs;
  }

  get isFailed(): boolean {
    return this.#error !== null && this.#error.code !== 'CANCELLED';
  }

  get view(): RequestView {
    const decodeMs = (this.#lastTokenAtMs ?? 0) - (this.#firstTokenAtMs ?? 0);
    return {
      ...{ id: this.id, route: this.route, startedMs: this.startedMs, endedMs: this.#endedMs },
      modelId: this.#begun?.modelId ?? null,
      tenant: this.#begun?.tenant ?? null,
      state: this.#state,
      promptTokens: this.#begun?.promptTokens ?? 0,
      cachedTokens: this.#cachedTokens,
      outputTokens: this.#outputTokens,
      firstTokenMs: this.#firstTokenAtMs === null ? null : this.#firstTokenAtMs - this.startedMs,
      tokensPerSecond:
        decodeMs > 0 && this.#outputTokens > 1 ? ((this.#outputTokens - 1) * 1000) / decodeMs : null,
      replays: this.#replays,
      sequences: this.sequences.length,
      error: this.#error,
    };
  }

  get timeline(): RequestTimeline {
    const spans = this.sequences
      .flatMap((sequence) => sequence.spans)
      .map((span) => ({ ...span, stages: span.stages.map((stage) => ({ ...stage })) }));
    return { ...this.view, spans: spans.sort((a, b) => a.startMs - b.startMs) };
  }

  get #state(): RequestState {
    if (this.#error) return this.#error.code === 'CANCELLED' ? 'cancelled' : 'failed';
    if (this.isOver) return 'done';
    const open = this.sequences.filter(({ end }) => end === null).map(({ state }) => state);
    for (const state of ['recovering', 'decode', 'prefill', 'queued'] as const)
      if (open.includes(state)) return state;
    return 'waiting';
  }
}
