import { limits } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { engineModel, stepRowsMax } from './served-requests.js';

const embedding = { pooling: null, width: 8, ranks: null };
const ranks = { takes: 'first', scores: 1 } as const;

describe('engineModel', () => {
  it.each([
    ['a model that continues texts', { isEncoder: false, embedding }, [true, 'last', 3]],
    ['an encoder', { isEncoder: true, embedding }, [false, 'mean', 3]],
    [
      'a reranker',
      { isEncoder: false, embedding: { ...embedding, pooling: 'rank', ranks } },
      [false, 'rank', 4],
    ],
    [
      'a file that says how',
      { isEncoder: true, embedding: { ...embedding, pooling: 'cls' } },
      [false, 'cls', 3],
    ],
    ['a model without embeddings', { isEncoder: false, embedding: null }, [true, 'last', 0]],
  ] as const)('tells what may be asked of %s', (_, spec, expected) => {
    const { generates, usualPooling, poolings } = engineModel(spec);
    expect([generates, usualPooling, poolings.length]).toEqual(expected);
  });
});

describe('stepRowsMax', () => {
  it('lets a step hold a whole text of an encoder, within the bound', () => {
    expect(stepRowsMax({ isEncoder: false }, 8192)).toBe(512);
    expect(stepRowsMax({ isEncoder: true }, 256)).toBe(512);
    expect(stepRowsMax({ isEncoder: true }, 2048)).toBe(2048);
    expect(stepRowsMax({ isEncoder: true }, 8192)).toBe(limits.stepRowsMax);
  });
});
