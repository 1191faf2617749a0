import { ButterflyError, limits } from '@butterfly/common';

/** Thrown inside the parser when the bytes at hand end before the file does; never leaves it. */
export class MoreBytesNeeded extends Error {
  constructor(readonly bytes: number) {
    super(`${bytes} bytes needed`);
  }
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Reads little-endian values from the start of a file and refuses to pass its end or the limit of metadata. */
export class Cursor {
  readonly view: DataView;
  position = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly fileBytes: number,
    private readonly path: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Passes over some bytes, known to be at hand, and tells where they start. */
  skip(bytes: number): number {
    const start = this.position;
    const end = start + bytes;
    if (end > this.bytes.byteLength) this.refuse(end);
    this.position = end;
    return start;
  }

  u32(): number {
    return this.view.getUint32(this.skip(4), true);
  }

  /** A size of 64 bits; rounded above 2^53, which every limit refuses. */
  size(): number {
    const at = this.skip(8);
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** A number of things that follow, each of at least one byte. */
  count(what: string, max: number): number {
    const count = this.size();
    if (count > max) throw this.corrupt(`it claims ${count} ${what}, and at most ${max} make sense`);
    if (this.position + count > this.fileBytes) this.refuse(this.position + count);
    return count;
  }

  /** The length of the string that follows. */
  stringBytes(what: string, max: number = limits.ggufMetadataBytesMax): number {
    const bytes = this.size();
    if (bytes > max) throw this.corrupt(`${what} claims ${bytes} bytes of text`);
    return bytes;
  }

  string(what: string, bytesMax: number): string {
    const bytes = this.stringBytes(what, bytesMax);
    const start = this.skip(bytes);
    return utf8.decode(this.bytes.subarray(start, start + bytes));
  }

  corrupt(problem: string): ButterflyError {
    return new ButterflyError(
      'MODEL_CORRUPT',
      `${this.path} is corrupt near byte ${this.position}: ${problem}. Download or convert the model again.`,
    );
  }

  private refuse(end: number): never {
    if (end > limits.ggufMetadataBytesMax)
      throw this.corrupt(`its metadata would pass the limit of ${limits.ggufMetadataBytesMax} bytes`);
    if (end > this.fileBytes)
      throw new ButterflyError(
        'MODEL_TRUNCATED',
        `${this.path} ends within its metadata: at least ${end} bytes expected, ${this.fileBytes} found. Download the file again.`,
      );
    throw new MoreBytesNeeded(end);
  }
}
