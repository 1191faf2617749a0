import { ButterflyError, type Clock, toButterflyError } from '@butterfly/common';
import type { ApiAnswer } from '../api-client/api-client.js';
import { type BatchRequest, failureLine, resultLine } from './batch-line.js';

/** Statuses after which the same request may do better. */
const passing: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);
const attemptsMax = 5;
const pauseMs = 1000;

export interface BatchRunOptions {
  readonly requests: AsyncIterable<BatchRequest>;
  /** Ids that need not be asked again. */
  readonly finished: ReadonlySet<string>;
  /** Requests under way at once. */
  readonly concurrency: number;
  readonly ask: (request: BatchRequest, signal: AbortSignal) => Promise<ApiAnswer>;
  /** Each answer as a line, refusals of the request too. */
  readonly writeResult: (line: string) => Promise<void>;
  /** What had no answer in the end. */
  readonly writeFailure: (line: string) => Promise<void>;
  readonly onDone: (outcome: BatchOutcome) => void;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface BatchOutcome {
  readonly kind: 'answered' | 'refused' | 'failed' | 'skipped';
  readonly outputTokens: number;
}

/**
 * Asks all requests of a batch, so many at once, and writes what comes in the order in which it comes. Ends early by the
 * signal; what is not written then is asked by the next run.
 * @throws ButterflyError of the file of requests, and of writing
 */
export async function runBatch(options: BatchRunOptions): Promise<void> {
  const requests = options.requests[Symbol.asyncIterator]();
  let isOver = false;
  const lane = async (): Promise<void> => {
    while (!isOver && !options.signal.aborted) {
      const next = await requests.next();
      if (next.done === true) return;
      if (options.finished.has(next.value.customId)) options.onDone({ kind: 'skipped', outputTokens: 0 });
      else await settle(options, next.value);
    }
  };
  const watched = (): Promise<void> =>
    lane().catch((error: unknown) => {
      isOver = true;
      throw error;
    });
  await Promise.all(Array.from({ length: options.concurrency }, watched));
}

async function settle(options: BatchRunOptions, request: BatchRequest): Promise<void> {
  const { writeResult, writeFailure, onDone, signal } = options;
  try {
    const answer = await askUntilItPasses(options, request);
    await writeResult(resultLine(request.customId, answer));
    onDone({ kind: answer.status < 400 ? 'answered' : 'refused', outputTokens: outputTokens(answer.body) });
  } catch (thrown) {
    if (signal.aborted) return;
    const error = toButterflyError(thrown);
    if (error.code === 'DISK_FULL') throw error;
    await writeFailure(failureLine(request.customId, error));
    onDone({ kind: 'failed', outputTokens: 0 });
  }
}

/** @throws ButterflyError after so many attempts without an answer that stands */
async function askUntilItPasses(
  { ask, clock, signal }: BatchRunOptions,
  request: BatchRequest,
): Promise<ApiAnswer> {
  for (let attempt = 1; ; attempt++) {
    const answer = await ask(request, signal).catch((thrown: unknown) => toButterflyError(thrown));
    const isError = answer instanceof ButterflyError;
    if (!isError && !passing.has(answer.status)) return answer;
    if (isError && (answer.code === 'CANCELLED' || attempt === attemptsMax)) throw answer;
    if (!isError && attempt === attemptsMax)
      throw new ButterflyError('CLUSTER_NOT_READY', `The server answered ${answer.status} ${attempt} times.`);
    await pause(clock, pauseMs * 2 ** (attempt - 1), signal);
  }
}

function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(ms, resolve);
    signal.addEventListener(
      'abort',
      () => {
        cancel();
        resolve();
      },
      { once: true },
    );
  });
}

function outputTokens(body: unknown): number {
  if (typeof body !== 'object' || body === null || !('usage' in body)) return 0;
  const { usage } = body;
  if (typeof usage !== 'object' || usage === null) return 0;
  const counts = usage as { readonly completion_tokens?: unknown; readonly output_tokens?: unknown };
  const count = counts.completion_tokens ?? counts.output_tokens;
  return typeof count === 'number' ? count : 0;
}
