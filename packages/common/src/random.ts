import { createHash } from 'node:crypto';

/**
 * 32 random bits for each call, as a signed number, from a stream that depends on its key alone, on every machine: the
 * small fast counter generator of 128 bits (sfc32 of PractRand).
 */
export function randomBits(key: string): () => number {
  const seed = createHash('sha256').update(key).digest();
  let a = seed.readInt32LE(0);
  let b = seed.readInt32LE(4);
  let c = seed.readInt32LE(8);
  let counter = seed.readInt32LE(12);
  return () => {
    const bits = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + bits) | 0;
    return bits;
  };
}

/** Numbers from 0 up to, but not including, 1, from such a stream. */
export function uniforms(key: string): () => number {
  const bits = randomBits(key);
  return () => (bits() >>> 0) / 2 ** 32;
}
