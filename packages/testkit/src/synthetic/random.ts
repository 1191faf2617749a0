import { createHash } from 'node:crypto';

/** A stream of random numbers that depends on its key alone (sfc32, seeded by a hash of the key). */
export class Random {
  readonly #state: Int32Array;

  constructor(key: string) {
    const digest = createHash('sha256').update(key).digest();
    this.#state = Int32Array.from({ length: 4 }, (_, index) => digest.readInt32LE(index * 4));
  }

  /** An integer from 0 up to, but not including, `bound`. */
  below(bound: number): number {
    const word = new Float32Array(1);
    this.fill(word, (bits) => ((bits >>> 0) / 2 ** 32) * 1);
    return Math.floor((word[0] ?? 0) * bound) % bound;
  }

  /** Fills with nearly normal values of the given mean and deviation. */
  fillNormal(target: Float32Array, mean: number, deviation: number): void {
    // The sum of four random bytes has mean 510 and this deviation.
    const scale = deviation / Math.sqrt((256 ** 2 - 1) / 3);
    this.fill(target, (bits) => {
      const sum = (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24);
      return mean + (sum - 510) * scale;
    });
  }

  private fill(target: Float32Array, map: (bits: number) => number): void {
    let [a = 0, b = 0, c = 0, counter = 0] = this.#state;
    for (let index = 0; index < target.length; index++) {
      const bits = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (c << 21) | (c >>> 11);
      c = (c + bits) | 0;
      target[index] = map(bits);
    }
    this.#state.set([a, b, c, counter]);
  }
}
