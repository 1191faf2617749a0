import { systemClock, toButterflyError } from '@butterfly/common';
import { type ApiClient, ApiRefusal } from '../api-client/api-client.js';
import type { LoadPrompt } from './prompts.js';
import type { LoadOutcome, LoadRecord } from './record.js';
import { readLoadEvent, type TokenUsage } from './stream-events.js';

export interface LoadClientOptions {
  readonly client: ApiClient;
  readonly model: string;
  readonly isChat: boolean;
  /** Past tokens that end the text, so that the work is what was planned. */
  readonly ignoresEnd: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface LoadRequest {
  readonly prompt: LoadPrompt;
  readonly maxTokens: number;
  readonly seed: number;
}

/** Streams requests, and records when what comes. */
export class LoadClient {
  constructor(private readonly options: LoadClientOptions) {}

  /** Whatever comes of it, errors too. @param startMs when it was to be sent, of `systemClock` */
  async send(request: LoadRequest, startMs: number): Promise<LoadRecord> {
    const { client, isChat, signal, timeoutMs } = this.options;
    const path = isChat ? '/v1/chat/completions' : '/v1/completions';
    const ending = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const piecesMs: number[] = [];
    let pieces = 0;
    let usage: TokenUsage | null = null;
    let outcome: LoadOutcome = { kind: 'answered' };
    try {
      for await (const event of client.stream(path, this.#body(request), ending)) {
        const read = readLoadEvent(event);
        usage = read.usage ?? usage;
        if (!read.hasText) continue;
        pieces += 1;
        if (piecesMs.length < request.maxTokens) piecesMs.push(systemClock.nowMs());
      }
    } catch (thrown) {
      outcome = signal.aborted ? { kind: 'stopped' } : { kind: 'failed', code: codeOf(thrown) };
    }
    return { startMs, endMs: systemClock.nowMs(), piecesMs, pieces, usage, outcome };
  }

  #body({ prompt, maxTokens, seed }: LoadRequest): unknown {
    return {
      model: this.options.model,
      ...prompt,
      max_tokens: maxTokens,
      temperature: 0,
      seed,
      stream: true,
      stream_options: { include_usage: true },
      ...(this.options.ignoresEnd ? { ignore_eos: true } : {}),
    };
  }
}

function codeOf(thrown: unknown): string {
  const error = toButterflyError(thrown);
  if (!(error instanceof ApiRefusal)) return error.code;
  const { status, apiCode } = error;
  return apiCode === null || apiCode === String(status) ? String(status) : `${status} ${apiCode}`;
}
