import { randomInt } from 'node:crypto';

const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** An id as OpenAI's: `call_` and 24 letters and digits. */
export const newCallId = (): string =>
  `call_${Array.from({ length: 24 }, () => letters.charAt(randomInt(letters.length))).join('')}`;
