import type { ButterflyError, ButterflyEvent, EventOf, TraceContext } from '@butterfly/common';
import { requestsFollowedMax } from '../asked-routes.js';

/** What is told of a request by its events, beside its timeline. */
export interface FollowedRequest {
  /** With its method, such as `POST /v1/chat/completions`. */
  readonly route: string;
  /** What its client says of a trace; null for nothing. */
  readonly trace: TraceContext | null;
  /** Of HTTP; null until the response is out. */
  readonly status: number | null;
  /** As its usage tells; null where nothing began. */
  readonly answer: Pick<EventOf<'requestEnded'>, 'completionId' | 'promptTokens' | 'outputTokens'> | null;
  /** What it ended with; null where all was well. */
  readonly error: ButterflyError | null;
  /** When the last of it was told, in milliseconds since 1970. */
  readonly endedMs: number;
}

type Followed = FollowedRequest & { readonly isAnswering: boolean };

/**
 * Requests until their responses are out and their answers over, from events alone. Either may be the last: an answer in the
 * background goes on, and whoever hangs up is gone before theirs ends.
 */
export class FollowedRequests {
  readonly #followed = new Map<string, Followed>();

  /**
   * @param nowMs milliseconds since 1970
   * @returns the id of a request that is over by this; its error may still be told, at once
   */
  take(event: ButterflyEvent, nowMs: number): string | null {
    switch (event.kind) {
      case 'requestArrived':
        this.#arrived(event, nowMs);
        return null;
      case 'requestBegun':
        return this.#change(event.requestId, { isAnswering: true });
      case 'requestEnded': {
        const { requestId, completionId, promptTokens, outputTokens } = event;
        const answer = { completionId, promptTokens, outputTokens };
        return this.#change(requestId, { answer, isAnswering: false, endedMs: nowMs });
      }
      case 'responseSent':
        return this.#change(event.requestId, { status: event.status, endedMs: nowMs });
      case 'requestFailed':
      case 'streamBroken':
        this.#change(event.requestId, { error: event.error });
        return null;
      default:
        return null;
    }
  }

  /** Follows one no further, and gives what was told of it; null for one that is not followed. */
  forget(requestId: string): FollowedRequest | null {
    const followed = this.#followed.get(requestId);
    this.#followed.delete(requestId);
    return followed ?? null;
  }

  #arrived({ requestId, route, trace }: EventOf<'requestArrived'>, nowMs: number): void {
    const [oldest] = this.#followed.size >= requestsFollowedMax ? this.#followed.keys() : [];
    if (oldest !== undefined) this.#followed.delete(oldest);
    const nothing = { status: null, answer: null, error: null, isAnswering: false };
    this.#followed.set(requestId, { route, trace: trace ?? null, ...nothing, endedMs: nowMs });
  }

  #change(requestId: string, changes: Partial<Followed>): string | null {
    const before = this.#followed.get(requestId);
    if (!before) return null;
    const after = { ...before, ...changes };
    this.#followed.set(requestId, after);
    return after.status !== null && !after.isAnswering ? requestId : null;
  }
}
