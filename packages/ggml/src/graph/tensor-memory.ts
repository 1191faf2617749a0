import { setImmediate } from 'node:timers/promises';
import { ensure } from '@butterfly/common';
import type { Backend } from '../device/backend.js';
import type { BufferType, NativeBuffer } from '../device/buffer.js';
import type { GraphContext } from './graph-context.js';
import type { Tensor } from './tensor.js';

/** Where a tensor lies. */
interface Place {
  readonly buffer: NativeBuffer;
  readonly offset: number;
}

/** What is zeroed at once: some 50 ms even where the system has to find the memory first. */
const clearedAtOnceBytes = 64 * 2 ** 20;

/**
 * Memory for tensors of one graph, one behind the other, in as few buffers as the device allows. Every tensor lies in one
 * piece.
 */
export class TensorMemory implements Disposable {
  readonly bytes: number;
  readonly buffers: readonly NativeBuffer[];
  readonly #places: ReadonlyMap<Tensor, Place>;

  /** Allocates. @throws ButterflyError COMPUTE_FAILED when memory is short */
  constructor(
    backend: Backend,
    graph: GraphContext,
    tensors: readonly Tensor[],
    readonly type: BufferType = backend.plain,
  ) {
    const groups: {
      bytes: number;
      readonly tensors: { readonly tensor: Tensor; readonly offset: number }[];
    }[] = [];
    for (const tensor of tensors) {
      const bytes = Math.ceil(graph.bytesIn(type, tensor) / type.alignment) * type.alignment;
      let group = groups.at(-1);
      if (!group || group.bytes + bytes > type.bytesMax) groups.push((group = { bytes: 0, tensors: [] }));
      group.tensors.push({ tensor, offset: group.bytes });
      group.bytes += bytes;
    }
    this.bytes = groups.reduce((sum, { bytes }) => sum + bytes, 0);
    const buffers: NativeBuffer[] = [];
    const places = new Map<Tensor, Place>();
    try {
      for (const group of groups) {
        const buffer = backend.allocate(group.bytes, type);
        buffers.push(buffer);
        for (const { tensor, offset } of group.tensors) {
          graph.place(tensor, buffer, offset);
          places.set(tensor, { buffer, offset });
        }
      }
    } catch (error) {
      for (const buffer of buffers) buffer[Symbol.dispose]();
      throw error;
    }
    this.buffers = buffers;
    this.#places = places;
  }

  /** Where a tensor lies in its buffer. */
  place(tensor: Tensor): Place {
    const place = this.#places.get(tensor);
    ensure(place !== undefined, () => 'The tensor has no place in this memory.');
    return place;
  }

  /** A part of a tensor, all of it by default, where the memory is the host's. */
  view(tensor: Tensor, at = 0, bytes = tensor.strides[3] * tensor.shape[3]): Uint8Array<ArrayBuffer> {
    const { buffer, offset } = this.place(tensor);
    return buffer.view(offset + at, bytes);
  }

  /**
   * Zeroes all of it, with other work between, as it may be many gigabytes.
   * @param options.onPause is called whenever other work has come between, and may throw to end it.
   */
  async clear({
    atOnceBytes = clearedAtOnceBytes,
    onPause = () => undefined,
  }: { readonly atOnceBytes?: number; readonly onPause?: () => void } = {}): Promise<void> {
    let isFirst = true;
    const pause = async (): Promise<void> => {
      if (!isFirst) {
        await setImmediate();
        onPause();
      }
      isFirst = false;
    };
    for (const buffer of this.buffers)
      if (buffer.type.isHost)
        for (let at = 0; at < buffer.bytes; at += atOnceBytes) {
          await pause();
          buffer.view(at, Math.min(atOnceBytes, buffer.bytes - at)).fill(0);
        }
      else {
        await pause();
        await buffer.clearAside();
      }
  }

  [Symbol.dispose](): void {
    for (const buffer of this.buffers) buffer[Symbol.dispose]();
  }
}
