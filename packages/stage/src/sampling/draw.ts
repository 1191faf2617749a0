import type { SamplingParams } from '@butterfly/wire';

/** Vocabularies are gone through in blocks of this many, which a processor compares and adds up side by side. */
const blockSize = 8;

/** Which tokens may be drawn, as libllama's samplers of these names have it, applied in this order. */
type Narrowing = Pick<SamplingParams, 'topK' | 'topP' | 'minP'>;

/** Stands for a token that cannot be said, because its logits are no numbers. */
export const noToken = -1;

/**
 * Index of the largest value, the first of equals, as llama.cpp takes it. `noToken` when any value is NaN or the largest
 * is infinite; minus infinity is how a token is ruled out.
 */
export function largestIndex(values: Float32Array): number {
  let largest = -Infinity;
  let index = noToken;
  let i = nextBlock(values, 0, largest);
  while (i < values.length) {
    const end = Math.min(i + blockSize, values.length);
    for (; i < end; i++) {
      const value = at(values, i);
      if (value > largest) {
        largest = value;
        index = i;
      } else if (Number.isNaN(value)) return noToken;
    }
    i = nextBlock(values, end, largest);
  }
  return largest === Infinity ? noToken : index;
}

/** One over a temperature, with which logits and their exponents are still numbers however low it is. */
export function inverse(temperature: number): number {
  return 1 / Math.max(temperature, 1e-30);
}

/** Whether tokens are drawn from fewer than all, in which case the temperature comes after the narrowing. */
export function isNarrowing({ topK, topP, minP }: Narrowing): boolean {
  return topK > 0 || topP < 1 || minP > 0;
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
  let weights = probabilities;
  if (temperature !== 1) {
    const largest = at(probabilities, largestIndex(probabilities));
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

/**
 * The probabilities of those that may be drawn, and 0 for the others; null when some less likely than `least`, which are
 * not among them, might be drawn as well. Of equally likely ones, the first are kept.
 */
function narrow(
  probabilities: Float32Array,
  least: number,
  { topK, topP, minP }: Narrowing,
): Float32Array | null {
  let kept = probabilities;
  if (topK > 0) {
    if (kept.length < topK && least > 0) return null;
    kept = likeliest(kept, topK, 'count');
  }
  if (topP < 1) {
    const known = sum(kept);
    const goal = topP * (topK > 0 || least === 0 ? known : 1);
    if (known < goal) return null;
    kept = likeliest(kept, goal, 'mass');
  }
  if (minP > 0) {
    const floor = Math.min(minP, 1) * at(kept, largestIndex(kept));
    if (topK <= 0 && topP >= 1 && floor < least) return null;
    kept = kept.map((value) => (value >= floor ? value : 0));
  }
  return kept.length > 0 ? kept : null;
}

/** Bits that one pass of `likeliest` looks at; three passes see all, as the sign and the next are 0 in a probability. */
const bucketBits = 10;
const buckets = 2 ** bucketBits;
/** Neighbours are counted apart, so that no sum waits for the one before. */
const lanes = 4;
const histogram = new Float64Array(buckets * lanes);

/**
 * As few of the likeliest as together reach the goal, but at least one; all when they never do. The others become 0.
 * The larger of two probabilities has the larger bits, too, so that no sorting is needed: a histogram tells, ten bits at
 * a time, down to which to keep.
 */
function likeliest(probabilities: Float32Array, goal: number, by: 'count' | 'mass'): Float32Array {
  const bits = new Uint32Array(probabilities.buffer, probabilities.byteOffset, probabilities.length);
  let least = 0;
  let missing = goal;
  for (let shift = 2 * bucketBits; shift >= 0; shift -= bucketBits) {
    histogram.fill(0);
    for (let i = 0; i < bits.length; i++) {
      const key = (bits[i] ?? 0) >>> shift;
      if (key >>> bucketBits !== least) continue;
      const bucket = (key % buckets) * lanes + (i % lanes);
      histogram[bucket] = at(histogram, bucket) + (by === 'count' ? 1 : at(probabilities, i));
    }
    let left = missing;
    let chosen = 0;
    for (let bucket = buckets - 1; bucket >= 0; bucket--) {
      const weight = laneSum(bucket);
      if (weight === 0) continue;
      chosen = bucket;
      missing = left;
      if (weight >= left) break;
      left -= weight;
    }
    least = least * buckets + chosen;
  }
  const kept = new Float32Array(probabilities.length);
  let isFirst = true;
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i] ?? 0;
    if (value < least) continue;
    if (value === least) {
      // Of those that are just that likely, only as many as are still missing.
      if (missing <= 0 && !isFirst) continue;
      missing -= by === 'count' ? 1 : at(probabilities, i);
      isFirst = false;
    }
    kept[i] = at(probabilities, i);
  }
  return kept;
}

function laneSum(bucket: number): number {
  let total = 0;
  for (let lane = 0; lane < lanes; lane++) total += at(histogram, bucket * lanes + lane);
  return total;
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

/**
 * Start of the next block, from `start` on, in which a value reaches `least` or is NaN, which is less than nothing; or of
 * the rest that is no whole block.
 */
function nextBlock(values: Float32Array, start: number, least: number): number {
  let i = start;
  for (; i + blockSize <= values.length; i += blockSize)
    if (
      !(at(values, i) < least) ||
      !(at(values, i + 1) < least) ||
      !(at(values, i + 2) < least) ||
      !(at(values, i + 3) < least) ||
      !(at(values, i + 4) < least) ||
      !(at(values, i + 5) < least) ||
      !(at(values, i + 6) < least) ||
      !(at(values, i + 7) < least)
    )
      return i;
  return i;
}

/** Adds up a block from the leaves of a tree, so that no sum waits for the one before. */
function blockSum(values: Float32Array, i: number): number {
  return (
    at(values, i) +
    at(values, i + 1) +
    (at(values, i + 2) + at(values, i + 3)) +
    (at(values, i + 4) + at(values, i + 5) + (at(values, i + 6) + at(values, i + 7)))
  );
}

function sum(values: Float32Array): number {
  let total = 0;
  let i = 0;
  for (; i + blockSize <= values.length; i += blockSize) total += blockSum(values, i);
  for (; i < values.length; i++) total += at(values, i);
  return total;
}

function pick(values: Float32Array, indices: Int32Array): Float32Array {
  const picked = new Float32Array(indices.length);
  for (let i = 0; i < picked.length; i++) picked[i] = at(values, indices[i] ?? 0);
  return picked;
}

function at(values: Float32Array | Float64Array, index: number): number {
  return values[index] ?? 0;
}
