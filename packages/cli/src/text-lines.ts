import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { ButterflyError, limits } from '@butterfly/common';

/** Lines of a text file, without blank ones, with their numbers from 1. @throws ButterflyError REQUEST_TOO_LARGE; Error of the file */
export async function* linesOf(
  path: string,
): AsyncGenerator<readonly [text: string, number: number], void, undefined> {
  const stream = createReadStream(path, 'utf8');
  const lines = createInterface({ input: stream, crlfDelay: Infinity });
  let number = 0;
  try {
    for await (const text of lines) {
      number += 1;
      if (text.length > limits.requestBodyBytesMax)
        throw new ButterflyError(
          'REQUEST_TOO_LARGE',
          `Line ${number} of ${path} has over ${limits.requestBodyBytesMax} characters; shorten it.`,
        );
      if (text.trim() !== '') yield [text, number];
    }
  } finally {
    stream.destroy();
  }
}

/** What a file cannot be used for. */
export function unreadable(path: string, cause: unknown): ButterflyError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ButterflyError('CONFIG_INVALID', `${path} cannot be used (${reason}); name another file.`, {
    cause,
  });
}
