import koffi from 'koffi';
import { ButterflyError, ensure } from '@butterfly/common';
import { preferHugePages } from '../library/huge-pages.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import { Uses } from '../library/uses.js';

/** Where a tensor may live: plain memory, or a layout that the kernels prefer (repacked, AMX). */
export interface BufferType {
  readonly pointer: Pointer;
  readonly name: string;
  /** Whether bytes may be read and written in place, in ggml's ordinary layout. */
  readonly isPlain: boolean;
  /** Whether the memory has addresses of this process; else it is reached through ggml alone. */
  readonly isHost: boolean;
  readonly alignment: number;
  /** Most bytes of one buffer. */
  readonly bytesMax: number;
}

/**
 * Views are parts of windows of so many bytes, which are made once: each made for itself counts as new memory of its size
 * and has the garbage collector run, 48 times for the loading of 621 MB.
 */
const windowBytes = 2 ** 30;

/** What a driver calls free may well be taken by other programs, or too large for one piece. */
const remedyOfCards =
  'other programs may use this card: offer less of it (--memory), keep experts beside it (--experts host), give this worker --device cpu,';

/** Native memory of one buffer type, freed by `dispose`. */
export class NativeBuffer implements Disposable {
  /** Native calls that read or write it aside. */
  readonly uses = new Uses();
  readonly #windows = new Map<number, Uint8Array<ArrayBuffer>>();
  readonly #address: Pointer;
  #pointer: Pointer | null;

  /**
   * @param bytes size, at least 1.
   * @throws ButterflyError COMPUTE_FAILED when memory is short.
   */
  constructor(
    private readonly ggml: Ggml,
    readonly type: BufferType,
    readonly bytes: number,
  ) {
    ensure(Number.isSafeInteger(bytes) && bytes > 0, () => `A buffer of ${bytes} bytes cannot be made.`);
    this.#pointer = ggml.base.ggml_backend_buft_alloc_buffer(type.pointer, bytes);
    if (this.#pointer === null)
      throw new ButterflyError(
        'COMPUTE_FAILED',
        `${bytes} bytes of ${type.name} memory could not be allocated; ${type.isHost ? 'free memory' : remedyOfCards} or use a smaller context.`,
      );
    this.#address = ggml.base.ggml_backend_buffer_get_base(this.#pointer);
    if (type.isHost) preferHugePages(this.#address, bytes);
  }

  get pointer(): Pointer {
    return this.#alive();
  }

  /** @throws ButterflyError COMPUTE_INVALID once it is disposed */
  ensureAlive(): void {
    this.#alive();
  }

  /** Where its bytes begin; of memory that is not the host's, a number that nothing may be read from. */
  get address(): Pointer {
    this.#alive();
    return this.#address;
  }

  get isDisposed(): boolean {
    return this.#pointer === null;
  }

  /** Fills the buffer with zeros. */
  clear(): void {
    this.ggml.base.ggml_backend_buffer_clear(this.pointer, 0);
  }

  /** The same off the event loop. */
  clearAside(): Promise<void> {
    const { pointer } = this;
    const release = this.uses.begin();
    return new Promise<void>((resolve, reject) => {
      this.ggml.base.ggml_backend_buffer_clear.async(pointer, 0, (error) => {
        if (error)
          reject(
            new ButterflyError('COMPUTE_FAILED', `Memory could not be cleared: ${error.message}`, {
              cause: error,
            }),
          );
        else resolve();
      });
    }).finally(release);
  }

  /** Tells ggml that this buffer holds weights, which lets kernels choose by it. */
  markWeights(): void {
    this.ggml.base.ggml_backend_buffer_set_usage(this.pointer, 1);
  }

  /** A view of native memory, without a copy; must not be used after `dispose`. */
  view(offset: number, bytes: number): Uint8Array<ArrayBuffer> {
    ensure(this.type.isPlain, () => `${this.type.name} memory has no plain view.`);
    return this.layoutView(offset, bytes);
  }

  /**
   * The same of a buffer of whatever layout: bytes that mean something only at the same place of the same tensor in
   * memory of the same type, of the same build on the same processor.
   */
  layoutView(offset: number, bytes: number): Uint8Array<ArrayBuffer> {
    const isInside =
      Number.isInteger(offset) &&
      Number.isInteger(bytes) &&
      offset >= 0 &&
      bytes > 0 &&
      offset + bytes <= this.bytes;
    ensure(isInside, () => `View ${offset}+${bytes} exceeds the buffer of ${this.bytes} bytes.`);
    ensure(this.type.isHost, () => `${this.type.name} memory is not the host's.`);
    const { address } = this;
    const index = Math.floor(offset / windowBytes);
    const start = offset - index * windowBytes;
    if (start + bytes > windowBytes) return new Uint8Array(koffi.view(address + BigInt(offset), bytes));
    let window = this.#windows.get(index);
    if (!window) {
      const from = index * windowBytes;
      window = new Uint8Array(koffi.view(address + BigInt(from), Math.min(windowBytes, this.bytes - from)));
      this.#windows.set(index, window);
    }
    return window.subarray(start, start + bytes);
  }

  /** @throws ButterflyError COMPUTE_INVALID while it is cleared or read aside */
  [Symbol.dispose](): void {
    if (this.#pointer === null) return;
    this.uses.ensureNone('A buffer');
    this.#windows.clear();
    this.ggml.base.ggml_backend_buffer_free(this.#pointer);
    this.#pointer = null;
  }

  #alive(): Pointer {
    if (this.#pointer === null) throw new ButterflyError('COMPUTE_INVALID', 'The buffer is disposed.');
    return this.#pointer;
  }
}
