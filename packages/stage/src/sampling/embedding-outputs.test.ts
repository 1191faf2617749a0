import { describe, expect, it } from 'vitest';
import { part } from '../testing/stages.js';
import { embeddingOutputs, wantsEmbeddings } from './embedding-outputs.js';

const noTokens = new Int32Array(0);
const sequences = [
  part({ sequenceId: 1, rows: 2, logitRows: 2, pooling: 'mean' }),
  part({ sequenceId: 2, rows: 3, logitRows: 0 }),
  part({ sequenceId: 3, rows: 1, pooling: 'last' }),
];
const vectors = [Float32Array.of(1, 2), Float32Array.of(3, 4)];

describe('embeddingOutputs', () => {
  it('are one for each sequence that wants one, as copies', () => {
    const outputs = embeddingOutputs(sequences, vectors, null);
    expect(outputs).toEqual([
      { sequenceId: 1, tokens: noTokens, vector: Float32Array.of(1, 2) },
      { sequenceId: 3, tokens: noTokens, vector: Float32Array.of(3, 4) },
    ]);
    expect(outputs[0]?.vector).not.toBe(vectors[0]);
    expect(wantsEmbeddings({ sequences })).toBe(true);
    expect(wantsEmbeddings({ sequences: sequences.slice(1, 2) })).toBe(false);
  });

  it('are empty where numbers are none: of the embedding, of a row, or in the midst of a text', () => {
    const broken = [Float32Array.of(1, NaN), Float32Array.of(3, 4)];
    expect(embeddingOutputs(sequences, broken, null)[0]).toEqual({ sequenceId: 1, tokens: noTokens });
    const faults = { rows: new Map([[3, 'here' as const]]), logitRows: new Set<number>() };
    expect(
      embeddingOutputs(sequences, vectors, faults).map(({ sequenceId, vector }) => [
        sequenceId,
        vector?.length,
      ]),
    ).toEqual([
      [1, 2],
      [2, undefined],
      [3, 2],
    ]);
  });
});
