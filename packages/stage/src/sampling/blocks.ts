/** Vocabularies are gone through in blocks of this many, which a processor compares and adds up side by side. */
export const blockSize = 8;

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

/**
 * Start of the next block, from `start` on, in which a value reaches `least` or is NaN, which is less than nothing; or of
 * the rest that is no whole block.
 */
export function nextBlock(values: Float32Array, start: number, least: number): number {
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
export function blockSum(values: Float32Array, i: number): number {
  return (
    at(values, i) +
    at(values, i + 1) +
    (at(values, i + 2) + at(values, i + 3)) +
    (at(values, i + 4) + at(values, i + 5) + (at(values, i + 6) + at(values, i + 7)))
  );
}

export function sum(values: Float32Array): number {
  let total = 0;
  let i = 0;
  for (; i + blockSize <= values.length; i += blockSize) total += blockSum(values, i);
  for (; i < values.length; i++) total += at(values, i);
  return total;
}

export function pick(values: Float32Array, indices: Int32Array): Float32Array {
  const picked = new Float32Array(indices.length);
  for (let i = 0; i < picked.length; i++) picked[i] = at(values, indices[i] ?? 0);
  return picked;
}

export function at(values: Float32Array | Float64Array, index: number): number {
  return values[index] ?? 0;
}
