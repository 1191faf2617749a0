import { limits } from '@butterfly/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const messages = [{ role: 'user', content: 'Hi' }];
const bodies: readonly (readonly [path: string, body: object])[] = [
  ['/v1/chat/completions', { messages }],
  ['/v1/completions', { prompt: 'Hi' }],
  ['/v1/responses', { input: 'Hi' }],
];

const dryOf = async (fields: object, [path, body] = bodies[0] ?? ['', {}]): Promise<unknown> => {
  const response = await api.post(path, { ...body, ...fields });
  expect([response.status, await response.text()]).toEqual([200, expect.any(String)]);
  return api.engine.requests.at(-1)?.sampling.dry;
};

const tokens = (...texts: string[]): Int32Array[] => texts.map((text) => Int32Array.from(say(text)));

describe('DRY', () => {
  it.each(bodies)('is asked of the engine by %s, with the defaults of llama.cpp', async (path, body) => {
    expect(await dryOf({ dry_multiplier: 0.8 }, [path, body])).toEqual({
      multiplier: 0.8,
      base: 1.75,
      allowedLength: 2,
      lastN: 64,
      breakers: tokens('\n', ':', '"', '*'),
    });
  });

  it('has its breakers as the tokens of the model', async () => {
    const fields = {
      dry_multiplier: 1,
      dry_base: 2,
      dry_allowed_length: 3,
      dry_penalty_last_n: 500,
      dry_sequence_breakers: ['\n\n', 'é', '</s>'],
    };
    expect(await dryOf(fields)).toEqual({
      multiplier: 1,
      base: 2,
      allowedLength: 3,
      lastN: 500,
      breakers: [...tokens('\n\n'), ...tokens('</s>'), Int32Array.of(257)],
    });
  });

  it('is not there where nothing asks for it', async () => {
    for (const fields of [{}, { dry_multiplier: 0 }, { dry_multiplier: 1, dry_penalty_last_n: 0 }])
      expect(await dryOf({ ...fields, dry_base: 3 })).toBeNull();
    expect(await dryOf({ dry_multiplier: 1, dry_sequence_breakers: [] })).toMatchObject({ breakers: [] });
  });

  it.each([
    [{ dry_base: 0.5 }, 'dry_base'],
    [{ dry_penalty_last_n: -1 }, 'dry_penalty_last_n'],
    [{ dry_penalty_last_n: limits.recentTokensMax + 1 }, 'dry_penalty_last_n'],
    [{ dry_sequence_breakers: [''] }, 'dry_sequence_breakers.0'],
    [{ dry_sequence_breakers: ['é'.repeat(21)] }, 'dry_sequence_breakers.0'],
    [{ dry_sequence_breakers: Array(17).fill('a') as string[] }, 'dry_sequence_breakers'],
  ])('refuses %j by its name', async (fields, param) => {
    const response = await api.post('/v1/completions', { prompt: 'Hi', dry_multiplier: 1, ...fields });
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { code: 'REQUEST_INVALID', param } },
    ]);
  });
});
