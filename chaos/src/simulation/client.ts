import { type ButterflyError, toButterflyError } from '@butterfly/common';
import type { Engine, GenerateEvent } from '@butterfly/engine';
import type { SimulatedClock } from '@butterfly/testkit';
import { reference } from './fake-model.js';
import type { Journal } from './journal.js';
import type { RequestPlan } from './schedule.js';

/** Beyond its deadline a request may wait for the next look at it. */
const graceMs = 250;
/** A cluster that is live for so long ends every request. */
const enoughMs = 60_000;

/** How a request ended; `open` until then. */
export type Outcome = 'open' | 'end' | ButterflyError['code'];

/** Sends one request, and holds every token of the answer against what the model says to it. */
export class Client {
  outcome: Outcome = 'open';
  tokens = 0;
  /** Tokens of the prompt that were told. */
  #told = 0;

  constructor(
    private readonly name: string,
    private readonly request: RequestPlan,
    private readonly around: {
      readonly engine: Engine;
      readonly layers: number;
      readonly clock: SimulatedClock;
      readonly journal: Journal;
      /** Since when the cluster is live without a break; null while it is not. */
      readonly liveSinceMs: () => number | null;
    },
  ) {}

  async run(): Promise<void> {
    const { clock, journal, engine } = this.around;
    const startMs = clock.nowMs();
    try {
      await this.#read(engine, startMs);
    } catch (thrown) {
      const error = toButterflyError(thrown);
      this.outcome = error.code;
      journal.violate(this.name, `threw ${error.code} ${error.message}`);
    }
    journal.note(this.name, `${this.outcome} after ${this.tokens} tokens`);
  }

  async #read(engine: Engine, startMs: number): Promise<void> {
    const { layers, journal } = this.around;
    const expected = reference(layers, this.request);
    for await (const event of engine.submit(this.request)) {
      if (this.outcome !== 'open') journal.violate(this.name, `an event came behind the end: ${event.kind}`);
      switch (event.kind) {
        case 'promptToken':
          this.#checkPrompt(event, expected.promptLogprobs);
          break;
        case 'token': {
          const token = expected.tokens[this.tokens];
          if (event.logprobs?.logprob !== expected.logprobs[this.tokens])
            journal.violate(this.name, `token ${this.tokens} has another log probability`);
          if (event.token !== token)
            journal.violate(
              this.name,
              `token ${this.tokens} is ${event.token} and not ${token ?? 'the end'}`,
            );
          this.tokens += 1;
          break;
        }
        case 'end':
          this.outcome = 'end';
          if (this.#told !== (this.request.promptLogprobs === null ? 0 : this.request.promptTokens.length))
            journal.violate(this.name, `ended after ${this.#told} tokens of its prompt`);
          if (this.tokens !== expected.tokens.length || event.reason !== expected.reason)
            journal.violate(
              this.name,
              `ended by ${event.reason} after ${this.tokens} tokens and not by ${expected.reason} after ${expected.tokens.length}`,
            );
          break;
        case 'error':
          this.outcome = event.error.code;
          this.#checkError(event.error, startMs);
          break;
        default:
          event satisfies never;
      }
    }
    if (this.outcome === 'open') journal.violate(this.name, 'its events ended without an end');
  }

  /** Each token of the prompt once and in order, with its log probability. */
  #checkPrompt(
    { token, logprobs }: Extract<GenerateEvent, { kind: 'promptToken' }>,
    expected: readonly number[],
  ): void {
    const isRight =
      token === this.request.promptTokens[this.#told] &&
      logprobs?.logprob === (this.#told === 0 ? undefined : expected[this.#told - 1]);
    if (!isRight || this.tokens > 0)
      this.around.journal.violate(this.name, `token ${this.#told} of its prompt was told wrongly`);
    this.#told += 1;
  }

  #checkError({ code, message }: ButterflyError, startMs: number): void {
    const { clock, journal, liveSinceMs } = this.around;
    const nowMs = clock.nowMs();
    const deadlineMs = startMs + this.request.timeoutMs;
    const violate = (what: string): void => journal.violate(this.name, `${what}: ${code} ${message}`);
    journal.note(this.name, `${code} ${message}`);
    if (nowMs > deadlineMs + graceMs) violate('it failed long after its deadline');
    if (code === 'WORKER_LOST') return;
    if (code !== 'TIMEOUT' && code !== 'CLUSTER_NOT_READY') violate('it failed for no reason of its own');
    if (nowMs < deadlineMs) violate('it failed before its deadline');
    const sinceMs = liveSinceMs();
    if (sinceMs !== null && nowMs - Math.max(sinceMs, startMs) > enoughMs)
      violate('it found no end in a live cluster');
  }
}
