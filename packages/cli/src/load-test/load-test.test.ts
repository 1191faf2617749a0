import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatReport } from './format-report.js';
import { checkSize, type LoadPattern, patternOf } from './plan.js';
import { readPrompts, wordsForTokens, wordsOf } from './prompts.js';
import type { LoadRecord } from './record.js';
import { runLoadTest } from './run-load-test.js';
import { readLoadEvent } from './stream-events.js';
import { LoadTally } from './tally.js';

const record = (fields: Partial<LoadRecord> = {}): LoadRecord => ({
  startMs: 0,
  endMs: 400,
  piecesMs: [100, 200, 400],
  pieces: 3,
  usage: { inputTokens: 7, outputTokens: 4 },
  outcome: { kind: 'answered' },
  ...fields,
});

describe('the plan', () => {
  it('is the same for a seed, and has no more streams than requests', () => {
    expect(patternOf(1, 3, null, 8)).toEqual({ kind: 'concurrency', streams: 3 });
    expect(patternOf(1, 20, 2, 8)).toEqual(patternOf(1, 20, 2, 8));
    expect(patternOf(1, 20, 2, 8)).not.toEqual(patternOf(2, 20, 2, 8));
  });

  it('is refused where times of all tokens would not be kept', () => {
    expect(() => checkSize(32, 128)).not.toThrow();
    expect(() => checkSize(limits.loadTestTokensMax / 2, 3)).toThrow('--requests times --max-tokens');
  });
});

describe('made up prompts', () => {
  it('are the same for a key and differ from the first words on', () => {
    expect(wordsOf('a', 50)).toBe(wordsOf('a', 50));
    expect(wordsOf('a', 50).split(' ')).toHaveLength(50);
    expect(new Set(Array.from({ length: 100 }, (_, index) => wordsOf(`b ${index}`, 5))).size).toBe(100);
  });

  it('have as many words as the tokens of a server take', () => {
    const size = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(
        size,
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 1, max: 9000 }),
        (per, beside, words) => {
          const counted = (count: number) => ({ words: count, tokens: beside + per * count });
          expect(wordsForTokens(beside + per * words, counted(8), counted(72))).toBe(words);
        },
      ),
    );
    expect(wordsForTokens(100, null, null)).toBe(100);
    expect(wordsForTokens(100, { words: 8, tokens: 5 }, { words: 72, tokens: 5 })).toBe(100);
    expect(wordsForTokens(1, { words: 8, tokens: 40 }, { words: 72, tokens: 104 })).toBe(1);
  });
});

describe('a file of prompts', () => {
  const text = JSON.stringify({ prompt: 'x' });
  const chat = JSON.stringify({ messages: [{ role: 'user', content: 'x' }] });
  const fileOf = async (content: string): Promise<string> => {
    const path = join(await mkdtemp(join(tmpdir(), 'butterfly-bench-')), 'prompts.jsonl');
    await writeFile(path, content);
    return path;
  };

  it('is read as far as it is needed', async () => {
    const path = await fileOf(`${text}\n\n${text}\nnonsense\n`);
    expect(await readPrompts(path, false, 2)).toEqual([{ prompt: 'x' }, { prompt: 'x' }]);
    expect(await readPrompts(await fileOf(chat), true, 2)).toEqual([JSON.parse(chat)]);
  });

  it.each([
    ['nonsense', false, 'Line 1 of the --prompt-file is no JSON'],
    [text, true, 'leave --chat out'],
    [chat, false, 'add --chat'],
    ['{}', true, 'must be'],
    ['\n', false, 'has no prompts'],
  ])('is refused as %j', async (content, isChat, what) => {
    await expect(readPrompts(await fileOf(content), isChat, 5)).rejects.toThrow(what);
  });

  it('must be there', async () => {
    await expect(readPrompts('/nowhere', false, 1)).rejects.toThrow('/nowhere cannot be used');
  });
});

describe('events of streams', () => {
  it.each([
    [{ choices: [{ text: 'a' }] }, true, null],
    [{ choices: [{ delta: { role: 'assistant', content: '' } }] }, false, null],
    [{ choices: [{ delta: { content: null, reasoning_content: 'a' } }], usage: null }, true, null],
    [{ choices: [{ delta: { reasoning: 'a' } }] }, true, null],
    [
      { choices: [], usage: { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 } },
      false,
      { inputTokens: 2, outputTokens: 3 },
    ],
    ['nonsense', false, null],
  ])('say %j', (event, hasText, usage) => {
    expect(readLoadEvent(event)).toEqual({ hasText, usage });
  });
});

describe('a run', () => {
  /** Sends to nobody, and counts. */
  function recorder(signal = new AbortController().signal) {
    const sent: number[] = [];
    let underWay = 0;
    let most = 0;
    const run = (pattern: LoadPattern, requests: number, each: (index: number) => void = () => undefined) =>
      runLoadTest({
        requests,
        pattern,
        signal,
        send: async (index) => {
          sent.push(index);
          most = Math.max(most, ++underWay);
          await new Promise((resolve) => setImmediate(resolve));
          underWay--;
          each(index);
        },
      });
    return { sent, run, most: () => most, left: () => underWay };
  }
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

  it('of streams sends everything in order, never more at once than there are streams', async () => {
    const { sent, run, most } = recorder();
    await run({ kind: 'concurrency', streams: 3 }, 10);
    expect([sent, most()]).toEqual([numbers(10), 3]);
  });

  it('at a rate sends everything in order, never more at once than a client bears', async () => {
    const { sent, run, most, left } = recorder();
    const requests = limits.loadTestInFlightMax + 100;
    await run({ kind: 'rate', arrivalsMs: Array<number>(requests).fill(0) }, requests);
    expect([sent, most(), left()]).toEqual([numbers(requests), limits.loadTestInFlightMax, 0]);
  });

  it.each([
    { kind: 'concurrency', streams: 2 },
    { kind: 'rate', arrivalsMs: [0, 0, 60_000_000, 60_000_000] },
  ] as const)(
    'as $kind begins nothing more when it is stopped, and waits for what it began',
    async (pattern) => {
      const stopping = new AbortController();
      const { sent, run, left } = recorder(stopping.signal);
      await run(pattern, 4, () => stopping.abort());
      expect([sent, left()]).toEqual([[0, 1], 0]);
    },
  );
});

describe('the tally', () => {
  it('counts tokens as the server does, and takes times from when a request was to be sent', () => {
    const tally = new LoadTally();
    tally.add(record());
    tally.add(record({ startMs: 1600, endMs: 2000, piecesMs: [1700, 1800, 2000] }));
    const report = tally.report(2);
    expect(report).toMatchObject({
      requests: { planned: 2, sent: 2, answered: 2, failed: 0, stopped: 0 },
      seconds: 2,
      inputTokens: 14,
      outputTokens: 8,
      tokensCountedBy: 'usage',
      tokensPerSecond: 4,
      requestsPerSecond: 1,
      firstTokenMs: { p50: 100, p90: 100, p99: 100 },
      endToEndMs: { p50: 400, p90: 400, p99: 400 },
      errors: {},
    });
    expect(report.betweenTokensMs?.p50).toBe(150);
    expect(report.streamTokensPerSecond?.p50).toBeCloseTo(10);
    expect(formatReport(report)).toContain(
      '2 of 2 requests answered in 2.0 s, 0 failed.\n8 tokens of output and 14',
    );
  });

  it('counts pieces where the server counts no tokens, and says so', () => {
    const tally = new LoadTally();
    tally.add(record({ usage: null }));
    expect(tally.report(1)).toMatchObject({ inputTokens: null, outputTokens: 3, tokensCountedBy: 'pieces' });
    tally.add(record());
    expect(tally.report(2).tokensCountedBy).toBe('usage and pieces');
  });

  it('has errors by code, of which there are not too many, and nothing for what no request had', () => {
    const tally = new LoadTally();
    for (let code = 0; code < 2 * limits.loadTestErrorCodesMax; code++)
      tally.add(
        record({ piecesMs: [], pieces: 0, usage: null, outcome: { kind: 'failed', code: `E${code}` } }),
      );
    const { errors, endToEndMs, firstTokenMs, requests } = tally.report(500);
    expect([endToEndMs, firstTokenMs, requests.failed]).toEqual([
      null,
      null,
      2 * limits.loadTestErrorCodesMax,
    ]);
    expect(Object.keys(errors)).toHaveLength(limits.loadTestErrorCodesMax);
    expect(errors.others).toBe(limits.loadTestErrorCodesMax + 1);
    expect(formatReport(tally.report(500))).toMatch(/E0 +1\n/);
  });

  it('of nothing has no figures', () => {
    expect(new LoadTally().report(3)).toMatchObject({
      seconds: 0,
      tokensPerSecond: null,
      tokensCountedBy: null,
    });
  });

  it('loses no request and no token', () => {
    const outcome = fc.constantFrom('answered', 'failed', 'stopped');
    fc.assert(
      fc.property(fc.array(fc.tuple(outcome, fc.nat(9))), (cases) => {
        const tally = new LoadTally();
        for (const [kind, pieces] of cases) {
          const piecesMs = Array.from({ length: pieces }, (_, index) => index);
          const came = kind === 'failed' ? ({ kind, code: 'E' } as const) : { kind };
          tally.add(record({ piecesMs, pieces, usage: null, outcome: came as LoadRecord['outcome'] }));
        }
        const { requests, outputTokens } = tally.report(cases.length);
        expect(requests.sent).toBe(cases.length);
        expect(outputTokens).toBe(cases.reduce((sum, [, pieces]) => sum + pieces, 0));
      }),
    );
  });
});
