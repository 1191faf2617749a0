const strides: Readonly<Record<string, number>> = { third: 3, sixth: 6 };

/**
 * `MATRICES=third` takes every third row of the longest matrices, and `sixth` every sixth, for machines whose time is short;
 * `npm test` takes all.
 */
const stride = strides[process.env.MATRICES ?? ''] ?? 1;

/** Whether some rows are left out. */
export const isShortened = stride > 1;

/**
 * Of these rows those that are tried.
 * @param offset of matrices beside each other, so that not the same are left out of each
 * @param strideMax for what shows little with fewer rows
 */
export function triedOf<T>(rows: readonly T[], offset = 0, strideMax = Infinity): readonly T[] {
  const every = Math.min(stride, strideMax);
  return rows.filter((_, index) => (index + offset) % every === 0);
}
