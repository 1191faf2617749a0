import type { LiveMessage } from '@butterfly/telemetry';
import { type Api, type ApiFailure, failureOf } from './api.js';
import { times } from './bounds.js';
import type { LinkState } from './page-state.js';
import { eventsOf, type ServerEvent } from './sse.js';

const kinds: readonly string[] = [
  'cluster',
  'requests',
  'events',
  'series',
  'pulse',
] satisfies LiveMessage['kind'][];

/** Null for what a newer server tells and this page does not know. */
export function messageOf({ name, data }: ServerEvent): LiveMessage | null {
  return kinds.includes(name) ? ({ kind: name, ...(JSON.parse(data) as object) } as LiveMessage) : null;
}

/** How long to wait before the next try; `failures` counts those in a row, from 1. */
export function pauseMs(failures: number): number {
  return Math.min(times.retryMax, times.retryFirst * 2 ** (failures - 1));
}

/** Follows `/cluster/live` for as long as the page is open, and connects again whenever that ends. */
export class LiveLink {
  #failures = 0;
  #stop = new AbortController();

  constructor(
    private readonly api: Api,
    private readonly onMessage: (message: LiveMessage) => void,
    private readonly onState: (state: LinkState) => void,
  ) {}

  /** Begins, or begins anew at once: with another key, or because somebody does not want to wait. */
  start(): void {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#failures = 0;
    void this.#follow(this.#stop.signal);
  }

  async #follow(stopped: AbortSignal): Promise<void> {
    const isStopped = (): boolean => stopped.aborted;
    while (!isStopped()) {
      this.onState({ kind: 'connecting' });
      const failure = await this.#once(stopped);
      if (isStopped()) return;
      if (failure?.isDenied === true) {
        this.onState({ kind: 'denied', words: failure.message });
        return;
      }
      const pause = pauseMs(++this.#failures);
      const words = failure?.message ?? 'The server closed the connection.';
      this.onState({ kind: 'broken', words, retryAtMs: Date.now() + pause });
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** @returns why it ended; null where the server ended it in order */
  async #once(stopped: AbortSignal): Promise<ApiFailure | null> {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), times.hangUpAfter);
    try {
      const { body } = await this.api.ask('/cluster/live', {
        signal: AbortSignal.any([stopped, silence.signal]),
      });
      if (body === null) return null;
      this.onState({ kind: 'open' });
      for await (const event of eventsOf(body)) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), times.hangUpAfter);
        const message = messageOf(event);
        if (message === null) continue;
        this.#failures = 0;
        this.onMessage(message);
      }
      return null;
    } catch (thrown) {
      return failureOf(thrown);
    } finally {
      clearTimeout(timer);
    }
  }
}
