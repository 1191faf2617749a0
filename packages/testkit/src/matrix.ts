/**
 * `MATRICES=third` takes every third row of the longest matrices, for machines whose time is short; `npm test` takes all.
 */
export const isShortened = process.env.MATRICES === 'third';

/**
 * Of these rows those that are tried.
 * @param offset of matrices beside each other, so that not the same are left out of each
 */
export function triedOf<T>(rows: readonly T[], offset = 0): readonly T[] {
  return rows.filter((_, index) => !isShortened || (index + offset) % 3 === 0);
}
