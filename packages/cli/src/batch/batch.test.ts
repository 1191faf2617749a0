import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ButterflyError, systemClock } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { batchRequests, checkBatch, finishedIds } from './batch-files.js';
import { type BatchRequest, parseBatchLine } from './batch-line.js';
import { runBatch, type BatchOutcome } from './batch-run.js';

const lineOf = (fields: object = {}) =>
  JSON.stringify({
    custom_id: '1',
    method: 'POST',
    url: '/v1/completions',
    body: { prompt: 'x' },
    ...fields,
  });

async function fileOf(text: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), 'butterfly-batch-')), 'batch.jsonl');
  await writeFile(path, text);
  return path;
}

describe('a line of a batch', () => {
  it('is a request with a name', () => {
    expect(parseBatchLine(lineOf(), 1)).toEqual({
      customId: '1',
      url: '/v1/completions',
      body: { prompt: 'x' },
    });
  });

  it.each([
    ['nonsense', 'is no JSON object'],
    [lineOf({ custom_id: '' }), 'custom_id'],
    [lineOf({ method: 'GET' }), 'method'],
    [lineOf({ url: '/v1/models' }), 'url: expected one of /v1/chat/completions'],
    [lineOf({ body: { stream: true } }), 'body.stream: a batch has whole answers'],
    [lineOf({ body: 5 }), 'body'],
  ])('is refused as %s', (text, what) => {
    expect(() => parseBatchLine(text, 7)).toThrow(/^Line 7 of the batch: /);
    expect(() => parseBatchLine(text, 7)).toThrow(what);
  });
});

describe('the files of a batch', () => {
  it('are looked at before anything is asked', async () => {
    expect(await checkBatch(await fileOf(`${lineOf()}\n\n${lineOf({ custom_id: '2' })}`))).toBe(2);
    await expect(checkBatch(await fileOf(`${lineOf()}\n${lineOf()}\n`))).rejects.toThrow('comes twice');
    await expect(checkBatch(await fileOf('\n'))).rejects.toThrow('has no requests');
    await expect(checkBatch('/nowhere')).rejects.toThrow('/nowhere cannot be used');
  });

  it('tell what an earlier run answered, and lose the half line that it left', async () => {
    const whole = '{"custom_id":"ü","response":{}}\n{"custom_id":"b","response":{}}\n';
    const path = await fileOf(`${whole}{"custom_id":"c","resp`);
    expect([...(await finishedIds(path))]).toEqual(['ü', 'b']);
    expect(await readFile(path, 'utf8')).toBe(whole);
    expect([...(await finishedIds('/nowhere'))]).toEqual([]);
  });
});

/** Writes lines to a list. */
const to = (list: string[]) => (line: string) => {
  list.push(line);
  return Promise.resolve();
};

describe('runBatch', () => {
  const body = { usage: { completion_tokens: 3 } };
  async function run(
    count: number,
    ask: (request: BatchRequest) => Promise<{ status: number; requestId: string | null; body: unknown }>,
    { finished = [], abort }: { finished?: readonly string[]; abort?: AbortController } = {},
  ) {
    const lines = Array.from({ length: count }, (_, at) => lineOf({ custom_id: String(at) }));
    const results: string[] = [];
    const failures: string[] = [];
    const outcomes: BatchOutcome[] = [];
    await runBatch({
      requests: batchRequests(await fileOf(lines.join('\n'))),
      finished: new Set(finished),
      concurrency: 3,
      ask,
      writeResult: to(results),
      writeFailure: to(failures),
      onDone: (outcome) => outcomes.push(outcome),
      // Pauses take no time.
      clock: { ...systemClock, after: (_ms, run) => systemClock.after(0, run) },
      signal: (abort ?? new AbortController()).signal,
    });
    return { results, failures, outcomes };
  }

  it('asks so many at once, and each once', async () => {
    let running = 0;
    let most = 0;
    const asked: string[] = [];
    const { results, outcomes } = await run(20, async ({ customId }) => {
      most = Math.max(most, ++running);
      asked.push(customId);
      await new Promise((resolve) => setTimeout(resolve, 1));
      running--;
      return { status: 200, requestId: 'req', body };
    });
    expect([most, new Set(asked).size, results.length]).toEqual([3, 20, 20]);
    expect(outcomes.every(({ kind, outputTokens }) => kind === 'answered' && outputTokens === 3)).toBe(true);
    expect(JSON.parse(results[0] ?? '')).toMatchObject({
      response: { status_code: 200, request_id: 'req', body },
      error: null,
    });
  });

  it('asks nothing that is answered already', async () => {
    const asked: string[] = [];
    const { outcomes } = await run(
      4,
      ({ customId }) => {
        asked.push(customId);
        return Promise.resolve({ status: 200, requestId: null, body });
      },
      { finished: ['0', '2'] },
    );
    expect(asked.sort()).toEqual(['1', '3']);
    expect(outcomes.filter(({ kind }) => kind === 'skipped')).toHaveLength(2);
  });

  it('keeps refusals as answers, repeats what may pass, and gives up on what does not', async () => {
    const attempts = new Map<string, number>();
    const { results, failures } = await run(3, ({ customId }) => {
      const attempt = (attempts.get(customId) ?? 0) + 1;
      attempts.set(customId, attempt);
      if (customId === '2') return Promise.reject(new ButterflyError('PEER_UNREACHABLE', 'It is gone.'));
      const status = customId === '0' ? 400 : attempt < 3 ? 503 : 200;
      return Promise.resolve({ status, requestId: null, body });
    });
    expect(Object.fromEntries(attempts)).toEqual({ 0: 1, 1: 3, 2: 5 });
    expect(results).toHaveLength(2);
    expect(failures.map((line) => JSON.parse(line) as object)).toMatchObject([
      { custom_id: '2', response: null, error: { code: 'PEER_UNREACHABLE' } },
    ]);
  });

  it('leaves the rest when it is stopped', async () => {
    const abort = new AbortController();
    const { results, failures } = await run(
      50,
      () => {
        abort.abort();
        return Promise.reject(new ButterflyError('CANCELLED', 'Stopped.'));
      },
      { abort },
    );
    expect([results, failures]).toEqual([[], []]);
  });
});
