import type { OutputEvent } from './events.js';

export type OutputSink = (event: OutputEvent) => void;

/** What was asked for, accepted and under way. */
export interface Answering {
  readonly promptTokens: number;
  /** Of all answers, so far. */
  readonly outputTokens: number;
  /**
   * Gives every event to the sink, as it comes. Called once.
   * @throws ButterflyError the one that ended a choice, and with it the others; CANCELLED
   */
  run(sink: OutputSink): Promise<void>;
  /** Frees all that the answers hold; `run` then throws CANCELLED. */
  cancel(): void;
}
