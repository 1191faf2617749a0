import { randomBits } from '@butterfly/common';

export { randomBits };

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
