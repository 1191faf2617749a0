import { at, blockSize, blockSum, largestIndex, nextBlock, pick, sum } from './blocks.js';
import { isNarrowing, narrow, type Narrowing } from './narrow.js';

/** One over a temperature, with which logits and their exponents are still numbers however low it is. */
export function inverse(temperature: number): number {
  return 1 / Math.max(temperature, 1e-30);
}

/** Nearly always, so likely tokens are all that may be drawn; there are at most 8,192 of them. */
const leastGathered = 2 ** -13;

/**
 * Draws a token.
 * @param probabilities of all tokens, which add up to 1; of temperature 1 where `isNarrowing`, else of that asked for.
 * @param fraction in [0, 1): where in the cumulative probability of what is left the token lies.
 */
export function drawToken(
  probabilities: Float32Array,
  sampling: Narrowing & { readonly temperature: number },
  fraction: number,
): number {
  if (!isNarrowing(sampling)) return drawIndex(probabilities, fraction);
  const tokens = gather(probabilities, leastGathered);
  const likely = narrow(pick(probabilities, tokens), leastGathered, sampling);
  if (likely) return tokens[drawTempered(likely, sampling.temperature, fraction)] ?? 0;
  const all = narrow(probabilities, 0, sampling) ?? probabilities;
  return drawTempered(all, sampling.temperature, fraction);
}

function drawTempered(probabilities: Float32Array, temperature: number, fraction: number): number {
  const likeliest = largestIndex(probabilities);
  if (temperature === 0) return likeliest;
  let weights = probabilities;
  if (temperature !== 1) {
    const largest = at(probabilities, likeliest);
    const power = inverse(temperature);
    weights = probabilities.map((value) => (value > 0 ? (value / largest) ** power : 0));
  }
  return drawIndex(weights, fraction * sum(weights));
}

/** The index at which the cumulative sum passes `target`; never one of weight 0 unless there is no other. */
function drawIndex(weights: Float32Array, target: number): number {
  let sum = 0;
  let i = 0;
  for (; i + blockSize <= weights.length; i += blockSize) {
    const next = sum + blockSum(weights, i);
    if (next > target) break;
    sum = next;
  }
  for (; i < weights.length; i++) {
    sum += at(weights, i);
    if (sum > target) return i;
  }
  // Rounding left a rest behind the last that can be drawn at all.
  return Math.max(
    0,
    weights.findLastIndex((weight) => weight > 0),
  );
}

/** The tokens of at least this probability. */
function gather(probabilities: Float32Array, least: number): Int32Array {
  // There cannot be more, as all add up to 1.
  const countMax = Math.min(probabilities.length, Math.ceil(1.01 / least));
  const found = new Int32Array(countMax);
  let count = 0;
  let i = nextBlock(probabilities, 0, least);
  while (i < probabilities.length) {
    const end = Math.min(i + blockSize, probabilities.length);
    for (; i < end; i++) if (at(probabilities, i) >= least && count < countMax) found[count++] = i;
    i = nextBlock(probabilities, end, least);
  }
  return found.subarray(0, count);
}
