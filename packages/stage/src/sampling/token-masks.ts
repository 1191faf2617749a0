import { ButterflyError } from '@butterfly/common';
import type { Step } from '@butterfly/wire';

/** The tokens of one word of a mask. */
const tokensPerWord = 32;

/**
 * Rules out, as minus infinity, all tokens that the masks of a step do not have, before anything else is done with the logits.
 * @param logits F32 [logit rows of all sequences in turn, vocabulary]
 * @param masks by id of the sequence a mask for each of its rows that are sampled
 * @throws ButterflyError COMPUTE_INVALID for a sequence with a constraint and without masks
 */
export function ruleOut(
  sequences: Step['sequences'],
  logits: Float32Array,
  masks: ReadonlyMap<number, readonly Int32Array[]>,
  vocabularySize: number,
): void {
  let end = 0;
  for (const { sequenceId, logitRows, draftTokens, sampling, constraint } of sequences) {
    end += logitRows;
    if (!constraint || !sampling) continue;
    const rows = masks.get(sequenceId);
    const sampledRows = draftTokens.length + 1;
    if (rows?.length !== sampledRows)
      throw new ButterflyError('COMPUTE_INVALID', `There is no mask for sequence ${sequenceId}.`);
    for (const [index, mask] of rows.entries()) {
      const start = (end - sampledRows + index) * vocabularySize;
      ruleOutRow(logits.subarray(start, start + vocabularySize), mask);
    }
  }
}

function ruleOutRow(logits: Float32Array, mask: Int32Array): void {
  for (let start = 0; start < logits.length; start += tokensPerWord) {
    const word = mask[start / tokensPerWord] ?? 0;
    if (word === -1) continue;
    const end = Math.min(start + tokensPerWord, logits.length);
    if (word === 0) logits.fill(-Infinity, start, end);
    else
      for (let token = start; token < end; token++)
        if (((word >>> (token - start)) & 1) === 0) logits[token] = -Infinity;
  }
}
