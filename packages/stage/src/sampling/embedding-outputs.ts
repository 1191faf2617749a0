import type { Step, StepResult } from '@butterfly/wire';
import { faultySequences, notFinite, type StageFaults } from '../faults.js';

const noTokens = new Int32Array(0);

/** Whether a step gives embeddings, and no tokens. */
export function wantsEmbeddings({ sequences }: Pick<Step, 'sequences'>): boolean {
  return sequences.some(({ pooling }) => pooling);
}

/**
 * The embeddings of a step for its result. A sequence whose numbers are NaN or infinite has an entry without one, also in the
 * midst of its text.
 * @param vectors of the sequences that want one, in turn; copied.
 */
export function embeddingOutputs(
  sequences: Step['sequences'],
  vectors: readonly Float32Array[],
  faults: StageFaults | null,
): StepResult['outputs'] {
  const faulty = faults && faultySequences(sequences, faults);
  let next = 0;
  return sequences.flatMap(({ sequenceId, pooling }) => {
    const vector = pooling ? vectors[next++] : undefined;
    if (faulty?.has(sequenceId)) return [{ sequenceId, tokens: noTokens }];
    if (!pooling) return [];
    const isSound = vector !== undefined && notFinite(vector).length === 0;
    return [
      isSound ? { sequenceId, tokens: noTokens, vector: vector.slice() } : { sequenceId, tokens: noTokens },
    ];
  });
}
