import { tokensPerWord } from './mask-messages.js';

/** Rows of one piece of shared memory. */
const rowsPerBuffer = 64;

/** Masks in memory that threads share, row by row. Both sides have one, with the same buffers in the same order. */
export class MaskRows {
  readonly #buffers: SharedArrayBuffer[] = [];

  readonly words: number;

  /** @param tokens of the vocabulary */
  constructor(readonly tokens: number) {
    this.words = Math.ceil(tokens / tokensPerWord);
  }

  get count(): number {
    return this.#buffers.length * rowsPerBuffer;
  }

  /** A buffer for rows behind those so far. */
  grown(): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(rowsPerBuffer * this.words * 4);
    this.add(buffer);
    return buffer;
  }

  add(buffer: SharedArrayBuffer): void {
    this.#buffers.push(buffer);
  }

  /** The words of a row, which must be there. */
  row(index: number): Int32Array {
    const buffer = this.#buffers[Math.floor(index / rowsPerBuffer)];
    if (!buffer) throw new RangeError(`There is no row ${index} of masks.`);
    return new Int32Array(buffer, (index % rowsPerBuffer) * this.words * 4, this.words);
  }
}
