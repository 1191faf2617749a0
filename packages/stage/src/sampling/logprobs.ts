import type { Softmax } from '@butterfly/ggml';
import type { Logprobs } from '@butterfly/wire';
import { at, blockSize, largestIndex, nextBlock, noToken } from './blocks.js';

/** A row of logits of which log probabilities are wanted, and how many of the likeliest tokens with theirs. */
interface WantedRow {
  readonly row: number;
  readonly alternatives: number;
}

/** What is known of the raw logits of a row. */
export interface RowLogprobs {
  /** A logit less this is the natural logarithm of its probability. */
  readonly normaliser: number;
  readonly topTokens: Int32Array;
  readonly topValues: Float32Array;
}

/**
 * Reads log probabilities out of raw logits, before anything is changed in them. One native softmax over the rows gives the
 * sum of all exponents; from it and the logits the rest is computed, so that no probability is too small to be told.
 */
export class LogprobReader {
  constructor(
    private readonly softmax: Softmax,
    private readonly rowsAtOnce: number,
  ) {}

  /**
   * For each wanted row in turn; null where the logits are no numbers.
   * @param logits F32 [rows, vocabulary]
   */
  async read(wanted: readonly WantedRow[], logits: Float32Array): Promise<(RowLogprobs | null)[]> {
    const { columns } = this.softmax;
    const found: (RowLogprobs | null)[] = [];
    for (let start = 0; start < wanted.length; start += this.rowsAtOnce) {
      const some = wanted.slice(start, start + this.rowsAtOnce).map(({ row, alternatives }) => ({
        alternatives,
        values: logits.subarray(row * columns, (row + 1) * columns),
      }));
      const inputs = this.softmax.inputs(some.length);
      for (const [i, { values }] of some.entries()) inputs.set(values, i * columns);
      const probabilities = await this.softmax.compute(some.length);
      for (const [i, { values, alternatives }] of some.entries())
        found.push(rowLogprobs(values, probabilities.subarray(i * columns, (i + 1) * columns), alternatives));
    }
    return found;
  }
}

function rowLogprobs(
  logits: Float32Array,
  probabilities: Float32Array,
  alternatives: number,
): RowLogprobs | null {
  const likeliest = largestIndex(logits);
  if (likeliest === noToken) return null;
  // The likeliest probability is one over the sum of all exponents, from 1 / vocabulary to 1.
  const normaliser = at(logits, likeliest) - Math.log(at(probabilities, likeliest));
  const topTokens = largestIndices(logits, alternatives);
  const topValues = Float32Array.from(topTokens, (token) => logprob(at(logits, token), normaliser));
  return { normaliser, topTokens, topValues };
}

/** Rounding may leave the only likely token a little over 1. */
const logprob = (logit: number, normaliser: number): number => Math.min(0, logit - normaliser);

/** The indices of so many of the largest values, or of all; the largest first, and of equal ones the first. */
export function largestIndices(values: Float32Array, count: number): Int32Array {
  const indices = new Int32Array(Math.min(count, values.length));
  let found = 0;
  let i = indices.length > 0 ? 0 : values.length;
  while (i < values.length) {
    const end = Math.min(i + blockSize, values.length);
    for (; i < end; i++) {
      const value = at(values, i);
      let place = found;
      while (place > 0 && value > at(values, indices[place - 1] ?? 0)) place--;
      if (place === indices.length) continue;
      indices.copyWithin(place + 1, place, indices.length - 1);
      indices[place] = i;
      if (found < indices.length) found++;
    }
    const least = found < indices.length ? -Infinity : at(values, indices[found - 1] ?? 0);
    i = nextBlock(values, end, least);
  }
  return indices;
}

/** Log probabilities of some rows together, with the raw logit of what was chosen in each. */
export function packed(rows: readonly RowLogprobs[], chosenLogits: readonly number[]): Logprobs {
  const alternatives = rows[0]?.topTokens.length ?? 0;
  const topTokens = new Int32Array(rows.length * alternatives);
  const topValues = new Float32Array(rows.length * alternatives);
  for (const [i, row] of rows.entries()) {
    topTokens.set(row.topTokens, i * alternatives);
    topValues.set(row.topValues, i * alternatives);
  }
  const chosen = Float32Array.from(rows, ({ normaliser }, i) => logprob(chosenLogits[i] ?? NaN, normaliser));
  return { chosen, alternatives, topTokens, topValues };
}
