import { createHash } from 'node:crypto';

export interface Random {
  /** An integer from 0 up to, but not including, `bound`. */
  below(bound: number): number;
  /** Fills with nearly normal values of the given mean and deviation. */
  fillNormal(target: Float32Array, mean: number, deviation: number): void;
}

/** A stream of random numbers that depends on its key alone, on every machine. */
export function createRandom(key: string): Random {
  const next = randomBits(key);
  return {
    below: (bound) => Math.floor(((next() >>> 0) / 2 ** 32) * bound),
    fillNormal(target, mean, deviation) {
      // The sum of four random bytes has mean 510 and this variance.
      const scale = deviation / Math.sqrt((256 ** 2 - 1) / 3);
      for (let index = 0; index < target.length; index++) {
        const bits = next();
        const sum = (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24);
        target[index] = mean + (sum - 510) * scale;
      }
    },
  };
}

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
