import { ButterflyError } from '@butterfly/common';
import type { Path } from './constraint.js';

/** Texts of clients in messages are cut at so many characters. */
const wordsMax = 80;

/** What is not as it must be. */
export function invalid(path: Path, message: string): ButterflyError {
  return at('REQUEST_INVALID', path, message);
}

/** What is right, and nothing that we can hold an answer to. */
export function unsupported(path: Path, message: string): ButterflyError {
  return at('REQUEST_UNSUPPORTED', path, message);
}

function at(code: 'REQUEST_INVALID' | 'REQUEST_UNSUPPORTED', path: Path, message: string): ButterflyError {
  const param = path.join('.');
  return new ButterflyError(code, `${param}: ${message}`, { param });
}

/** A word of a client, short enough for a message. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > wordsMax ? `${text.slice(0, wordsMax)}…` : text);
}
