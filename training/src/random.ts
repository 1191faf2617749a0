import { randomBits } from '@butterfly/testkit';

/** A stream of random numbers that depends on its key alone, on every machine. */
export interface Random {
  /** An integer from 0 up to, but not including, `bound`. */
  below(bound: number): number;
  /** One of the values, all equally likely. */
  pick<T>(values: readonly T[]): T;
  /** True with this probability. */
  chance(probability: number): boolean;
  shuffle<T>(values: readonly T[]): T[];
  fillNormal(target: Float32Array, deviation: number): void;
}

export function createRandom(key: string): Random {
  const next = randomBits(key);
  const fraction = (): number => (next() >>> 0) / 2 ** 32;
  const below = (bound: number): number => Math.floor(fraction() * bound);
  return {
    below,
    pick: (values) => {
      const value = values[below(values.length)];
      if (value === undefined) throw new RangeError('there is nothing to pick from');
      return value;
    },
    chance: (probability) => fraction() < probability,
    shuffle(values) {
      const shuffled = [...values];
      for (let index = shuffled.length - 1; index > 0; index--) {
        const other = below(index + 1);
        // Both indices are in range.
        [shuffled[index], shuffled[other]] = [shuffled[other] as never, shuffled[index] as never];
      }
      return shuffled;
    },
    fillNormal(target, deviation) {
      // Box and Muller's transform; 1 - fraction is never 0.
      for (let index = 0; index < target.length; index++)
        target[index] =
          deviation * Math.sqrt(-2 * Math.log(1 - fraction())) * Math.cos(2 * Math.PI * fraction());
    },
  };
}
