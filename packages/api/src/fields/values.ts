import { limits } from '@butterfly/common';
import { z } from 'zod';

export const wholeNumber = (isAllowed: (value: number) => boolean, error: string) =>
  z.number().refine((value) => Number.isInteger(value) && isAllowed(value), { error });

export const stopString = z
  .string()
  .max(limits.stopStringCharactersMax)
  .refine((text) => !/\p{Surrogate}/u.test(text), { error: 'has half a surrogate pair' });

/** What its field on the wire holds, and more than any vocabulary has. */
export const topKMax = 2 ** 31;

export const isBlank = (text: string | null | undefined): text is null | undefined | '' =>
  !text || text.trim() === '';

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

/** Messages, and parts of messages. */
export function countParts(messages: readonly unknown[]): number {
  let parts = messages.length;
  for (const message of messages)
    if (
      typeof message === 'object' &&
      message !== null &&
      'content' in message &&
      Array.isArray(message.content)
    )
      parts += message.content.length;
  return parts;
}
