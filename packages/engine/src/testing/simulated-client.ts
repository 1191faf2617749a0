import { expect } from 'vitest';
import type { SchedulerRequest } from '../scheduler/scheduler-types.js';
import { precedes } from '../queue/waiting-queue.js';
import type { TokenLogprobs } from '../types.js';
import { reference } from './fake-pipeline.js';

export function check(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message());
}

/** What the outside world has seen of a sequence. */
export interface Client {
  readonly request: SchedulerRequest;
  readonly output: number[];
  readonly logprobs: TokenLogprobs[];
  /** What was told of its prompt. */
  readonly told: { readonly token: number; readonly logprobs: TokenLogprobs | null }[];
  end: 'stop' | 'length' | 'cancelled' | 'expired' | null;
  readonly rank: number;
  scheduled: number;
  /** The position from which on its rows were decoded since it runs. */
  decodedFrom: number;
  /** Where the latest step began that computed rows of it again. */
  repeatedFrom: number;
  seen: boolean;
  /** It has been served while it was first in order: as long as it is, it must never be set back. */
  servedAsFirst: boolean;
}

export function inOrder(a: Pick<Client, 'request' | 'rank'>, b: Pick<Client, 'request' | 'rank'>): number {
  return precedes({ id: a.request.id, rank: a.rank }, { id: b.request.id, rank: b.rank }) ? -1 : 1;
}

/** Holds what a sequence said and told against what it does alone; whether it came to its end. */
export function checkOutput({ request, output, logprobs, told, end }: Client, windowTokens: number): boolean {
  const expected = reference(request, windowTokens);
  const { tokens, reason } = expected;
  const whole = end === 'stop' || end === 'length';
  check(
    !whole || end === reason,
    () => `sequence ${request.id} ended with ${end ?? 'nothing'}, not ${reason}`,
  );
  const wanted = whole ? tokens : tokens.slice(0, output.length);
  check(
    output.join() === wanted.join(),
    () => `sequence ${request.id} gave ${output.join()}, not ${wanted.join()}`,
  );
  expect(logprobs, `of the output of ${request.id}`).toEqual(expected.logprobs.slice(0, output.length));
  const count = whole ? expected.promptLogprobs.length : told.length;
  expect(told, `of the prompt of ${request.id}`).toEqual(
    expected.promptLogprobs
      .slice(0, count)
      .map((each, i) => ({ token: request.promptTokens[i], logprobs: each })),
  );
  return whole;
}
