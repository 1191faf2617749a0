import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares secrets in a time that tells nothing of where they differ, nor of their lengths. */
export function secretsEqual(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
