import type { TokenUsage } from './stream-events.js';

export type LoadOutcome =
  | { readonly kind: 'answered' }
  /** The status and code of the server, or a code of docs/errors.md. */
  | { readonly kind: 'failed'; readonly code: string }
  /** Whoever measures ended it. */
  | { readonly kind: 'stopped' };

/** What a client saw of one request; times in milliseconds of one clock. */
export interface LoadRecord {
  /** When it was to be sent, so that a client that is late hides nothing. */
  readonly startMs: number;
  readonly endMs: number;
  /** When each piece of the output arrived, as many as tokens were asked for at most. */
  readonly piecesMs: readonly number[];
  /** All of them. */
  readonly pieces: number;
  /** Null where the server told none. */
  readonly usage: TokenUsage | null;
  readonly outcome: LoadOutcome;
}
