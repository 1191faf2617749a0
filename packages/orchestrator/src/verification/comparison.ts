import type { StepOutput, StepSequence } from '@butterfly/wire';

/** How far apart the numbers of two workers may be that are both right. */
export interface Tolerance {
  /** The same kernels, which give a row the same bits whatever is beside it: nothing may differ. */
  readonly isExact: boolean;
  /** Of activations, as `rowsApart` measures it. */
  readonly activations: number;
  /** How much less likely the token of one may be to the other than its own, in natural logarithms, where the likeliest is taken. */
  readonly logprob: number;
}

/** How alike two workers compute. */
export type Likeness =
  /** With the same kernels, which give a row the same bits whatever is beside it. */
  | 'exact'
  /** With the same kernels, which add up in another order where other rows are beside it. */
  | 'alike'
  /** With kernels of other processors or devices. */
  | 'unlike';

/**
 * Kernels quantise activations and add up in their own ways. The bounds are several times what was measured of
 * honest workers (docs/security.md); wrong weights, or layers that were not computed, differ by about 1.
 */
const tolerances: Readonly<Record<Likeness, Tolerance>> = {
  exact: { isExact: true, activations: 0, logprob: 0 },
  alike: { isExact: false, activations: 0.02, logprob: 0.5 },
  unlike: { isExact: false, activations: 0.1, logprob: 1 },
};

export function toleranceOf(likeness: Likeness): Tolerance {
  return tolerances[likeness];
}

/** How many of the likeliest tokens the other worker is asked for, so that what the first one took can be found among them. */
export const comparedLogprobs = 20;

/**
 * The largest difference of a row, in parts of its length: |a - b| / |b| by the Euclidean norm. Infinity where the sizes
 * differ, or where one is no number and the other is; 0 where neither is one.
 * @param told F32[rows, width], at any alignment
 * @param computed the same of the other worker
 */
export function rowsApart(told: Uint8Array, computed: Uint8Array, rows: number): number {
  if (told.length !== computed.length || rows === 0 || told.length % (4 * rows) !== 0) return Infinity;
  if (Buffer.compare(told, computed) === 0) return 0;
  const [a, b] = [floats(told), floats(computed)];
  const width = a.length / rows;
  let largest = 0;
  for (let row = 0; row < rows; row++) {
    let [difference, norm] = [0, 0];
    for (let at = row * width; at < (row + 1) * width; at++) {
      const other = b[at] ?? 0;
      difference += ((a[at] ?? 0) - other) ** 2;
      norm += other ** 2;
    }
    const areNumbers = [isFiniteRow(a, row, width), isFiniteRow(b, row, width)];
    if (areNumbers[0] !== areNumbers[1]) return Infinity;
    if (areNumbers[0] === false || difference === 0) continue;
    largest = Math.max(largest, norm === 0 ? Infinity : Math.sqrt(difference / norm));
  }
  return largest;
}

/** What two workers sampled of the same rows. */
export type TokenVerdict =
  | { readonly kind: 'same'; readonly tokens: number }
  /** Both may be right: the choice was close, or drawn at the border of two tokens. */
  | { readonly kind: 'close'; readonly tokens: number }
  /** One of them is not. @see `words` */
  | { readonly kind: 'apart'; readonly words: string };

/** @param computed of the other worker, with the log probabilities of `comparedLogprobs` tokens beside each */
export function tokensApart(
  told: StepOutput | undefined,
  computed: StepOutput | undefined,
  { sampling }: Pick<StepSequence, 'sampling'>,
  tolerance: Tolerance,
): TokenVerdict {
  const [ours, theirs] = [told?.tokens ?? new Int32Array(0), computed?.tokens ?? new Int32Array(0)];
  const at = [...ours.keys()].find((index) => ours[index] !== theirs[index]) ?? ours.length;
  if (at === ours.length && ours.length === theirs.length) return { kind: 'same', tokens: ours.length };
  const words = `token ${ours[at] ?? 'none'} instead of ${theirs[at] ?? 'none'}`;
  const logprobs = computed?.logprobs;
  const isOneMissing = ours.length === 0 || theirs.length === 0;
  if (tolerance.isExact || isOneMissing || !logprobs) return { kind: 'apart', words };
  // One had one guess more confirmed than the other.
  if (at >= ours.length || at >= theirs.length) return { kind: 'close', tokens: at };
  const likelihoods = [
    ...logprobs.topTokens.subarray(at * logprobs.alternatives, (at + 1) * logprobs.alternatives),
  ];
  const place = likelihoods.indexOf(ours[at] ?? -1);
  const gap =
    (logprobs.chosen[at] ?? 0) - (logprobs.topValues[at * logprobs.alternatives + place] ?? -Infinity);
  // Drawn tokens jump when the border between two passes the number drawn; the likeliest one only from near to near.
  const isGreedy = sampling?.temperature === 0;
  if (place === -1 || (isGreedy && gap > tolerance.logprob)) return { kind: 'apart', words };
  return { kind: 'close', tokens: at + 1 };
}

function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

function isFiniteRow(values: Float32Array, row: number, width: number): boolean {
  return values.subarray(row * width, (row + 1) * width).every((value) => Number.isFinite(value));
}
