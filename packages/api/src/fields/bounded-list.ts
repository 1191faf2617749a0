import { z } from 'zod';

/**
 * Looks at a list before its items are: a schema costs far more for each item than the JSON that it came in, and a body
 * has room for millions.
 */
export const boundedList = <S extends z.ZodType>(
  items: S,
  max: number,
  size: (list: readonly unknown[]) => number = (list) => list.length,
) =>
  z
    .custom<unknown>((value) => !Array.isArray(value) || size(value) <= max, `at most ${max} are allowed`)
    .pipe(z.array(items));
