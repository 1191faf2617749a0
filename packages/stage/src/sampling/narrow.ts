import type { SamplingParams } from '@butterfly/wire';
import { at, largestIndex, sum } from './blocks.js';

/** Which tokens may be drawn, as libllama's samplers of these names have it, applied in this order. */
export interface Narrowing extends Pick<SamplingParams, 'topK' | 'typicalP' | 'topP' | 'minP'> {
  /** XTC's threshold where this draw excludes the likeliest tokens, else infinite. */
  readonly excludesFrom: number;
}

/** Whether tokens are drawn from fewer than all, in which case the temperature comes after the narrowing. */
export function isNarrowing({ topK, typicalP, topP, minP, excludesFrom }: Narrowing): boolean {
  return topK > 0 || typicalP < 1 || topP < 1 || minP > 0 || excludesFrom < Infinity;
}

/**
 * The probabilities of those that may be drawn, and 0 for the others; null when some less likely than `least`, which are
 * not among them, might be drawn as well. Of equally likely ones, the first are kept.
 */
export function narrow(
  probabilities: Float32Array,
  least: number,
  { topK, typicalP, topP, minP, excludesFrom }: Narrowing,
): Float32Array | null {
  let kept = probabilities;
  /** Whether none of those that are not among them can be drawn any more. */
  let isWhole = least === 0;
  if (topK > 0) {
    if (kept.length < topK && !isWhole) return null;
    kept = likeliest(kept, topK, 'count');
    isWhole = true;
  }
  if (typicalP < 1) {
    // A rare token may be more typical than a likely one.
    if (!isWhole) return null;
    kept = typical(kept, typicalP);
  }
  if (topP < 1) {
    const known = sum(kept);
    const goal = topP * (isWhole ? known : 1);
    if (known < goal) return null;
    kept = likeliest(kept, goal, 'mass');
    isWhole = true;
  }
  if (minP > 0) {
    const floor = Math.min(minP, 1) * at(kept, largestIndex(kept));
    if (!isWhole && floor < least) return null;
    kept = kept.map((value) => (value >= floor ? value : 0));
    isWhole = true;
  }
  if (excludesFrom < Infinity) {
    if (!isWhole) return null;
    kept = withoutTopChoices(kept, excludesFrom);
  }
  return kept.length > 0 ? kept : null;
}

/**
 * XTC ("Exclude Top Choices"): of those that reach the threshold only the least likely stays, and of equal ones the last,
 * so that nothing changes unless there are two.
 */
function withoutTopChoices(probabilities: Float32Array, threshold: number): Float32Array {
  const floor = threshold * sum(probabilities);
  let last = -1;
  for (let i = 0; i < probabilities.length; i++) {
    const value = at(probabilities, i);
    if (value > 0 && value >= floor && (last < 0 || value <= at(probabilities, last))) last = i;
  }
  if (last < 0) return probabilities;
  return probabilities.map((value, i) => (value < floor || i === last ? value : 0));
}

/**
 * As few as have more than so much probability, of those whose surprise is nearest to the expected one (Meister et al.,
 * _Locally Typical Sampling_, 2023).
 */
function typical(probabilities: Float32Array, typicalP: number): Float32Array {
  const total = sum(probabilities);
  const distances = new Float32Array(probabilities.length);
  let entropy = 0;
  for (let i = 0; i < distances.length; i++) {
    const share = at(probabilities, i) / total;
    if (share === 0) continue;
    distances[i] = -Math.log(share);
    entropy += share * at(distances, i);
  }
  for (let i = 0; i < distances.length; i++) distances[i] = Math.abs(at(distances, i) - entropy);
  // The smaller the distance, the larger the key; of 31 bits the last is lost.
  const keys = bitsOf(distances);
  for (let i = 0; i < keys.length; i++)
    keys[i] = at(probabilities, i) > 0 ? (0x7fff_ffff - (keys[i] ?? 0)) >>> 1 : 0;
  // More than that, and not just as much.
  return leading(probabilities, keys, typicalP * total * (1 + Number.EPSILON), 'mass');
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** Bits that one pass of `leading` looks at; three passes see all, as the sign and the next are 0 in a probability. */
const bucketBits = 10;
const buckets = 2 ** bucketBits;
/** Neighbours are counted apart, so that no sum waits for the one before. */
const lanes = 4;
const histogram = new Float64Array(buckets * lanes);

/** As few of the likeliest as together reach the goal, see `leading`: the larger of two has the larger bits, too. */
function likeliest(probabilities: Float32Array, goal: number, by: 'count' | 'mass'): Float32Array {
  return leading(probabilities, bitsOf(probabilities), goal, by);
}

/**
 * As few of those with the largest keys as together reach the goal, but at least one; all when they never do. The others
 * become 0. No sorting is needed: a histogram tells, ten bits at a time, down to which key to keep.
 * @param keys one for each probability, below 2 ** 30.
 */
function leading(
  probabilities: Float32Array,
  keys: Uint32Array,
  goal: number,
  by: 'count' | 'mass',
): Float32Array {
  let least = 0;
  let missing = goal;
  for (let shift = 2 * bucketBits; shift >= 0; shift -= bucketBits) {
    histogram.fill(0);
    for (let i = 0; i < keys.length; i++) {
      const key = (keys[i] ?? 0) >>> shift;
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
  for (let i = 0; i < keys.length; i++) {
    const value = keys[i] ?? 0;
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
