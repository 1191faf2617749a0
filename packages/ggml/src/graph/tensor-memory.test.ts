import { describe, expect, it } from 'vitest';
import { NativeBuffer, type BufferType } from '../device/buffer.js';
import { backend, computeInvalid, ggml } from '../testing/graphs.js';
import { dtype } from './dtype.js';
import { Graph } from './graph.js';
import { TensorMemory } from './tensor-memory.js';
import { shapeOf, type Tensor } from './tensor.js';

const invalid = expect.objectContaining(computeInvalid) as Error;
const rowBytes = 256;
const tensorOf = (graph: Graph, rows: number): Tensor => graph.tensor(dtype.F32, shapeOf(rowBytes / 4, rows));
/** Memory of a device that gives no more than this at once, and has no addresses where that is wanted. */
const small = (change: Partial<BufferType> = {}): BufferType => ({
  ...backend.plain,
  bytesMax: 1024,
  ...change,
});

describe('TensorMemory', () => {
  it('takes as few buffers as the device allows, with every tensor in one piece', () => {
    using graph = new Graph(ggml, 5);
    // The third one is larger than a buffer may be, which some drivers bear.
    const tensors = [1, 3, 8, 2, 2].map((rows) => tensorOf(graph, rows));
    using memory = new TensorMemory(backend, graph, tensors, small());
    expect(memory.buffers.map(({ bytes }) => bytes)).toEqual([4, 8, 4].map((rows) => rows * rowBytes));
    expect(memory.bytes).toBe(16 * rowBytes);
    const places = tensors.map((tensor) => memory.place(tensor));
    expect(places.map(({ buffer }) => memory.buffers.indexOf(buffer))).toEqual([0, 0, 1, 2, 2]);
    expect(places.map(({ offset }) => offset)).toEqual([0, rowBytes, 0, 0, 2 * rowBytes]);
  });

  it.each([true, false])(
    'clears all of it, and is read and written, where it is the host’s: %s',
    async (isHost) => {
      using graph = new Graph(ggml, 3);
      const tensors = [4, 4, 1].map((rows) => tensorOf(graph, rows));
      using memory = new TensorMemory(backend, graph, tensors, small({ isHost, isPlain: isHost }));
      const read = (tensor: Tensor): Uint8Array => {
        const bytes = new Uint8Array(tensor.strides[3]);
        graph.read(tensor, bytes);
        return bytes;
      };
      for (const tensor of tensors) graph.write(tensor, new Uint8Array(tensor.strides[3]).fill(7));
      let pauses = 0;
      await memory.clear({ atOnceBytes: 512, onPause: () => pauses++ });
      // Five pieces of memory of the host, else a buffer at a time.
      expect(pauses).toBe(isHost ? 4 : 2);
      for (const tensor of tensors) expect(read(tensor).every((byte) => byte === 0)).toBe(true);
      const [first] = tensors;
      if (!first) throw new RangeError('there is no tensor');
      graph.write(first, Uint8Array.of(1, 2, 3, 4), rowBytes);
      graph.zero(first, rowBytes + 1, 2);
      expect([...read(first).subarray(rowBytes, rowBytes + 4)]).toEqual([1, 0, 0, 4]);
      if (isHost) expect([...memory.view(first, rowBytes, 4)]).toEqual([1, 0, 0, 4]);
      else expect(() => memory.view(first, rowBytes, 4)).toThrow(invalid);
      expect(() => graph.write(first, new Uint8Array(8), first.strides[3] - 4)).toThrow(invalid);
      expect(() => graph.read(first, new Uint8Array(1), -1)).toThrow(invalid);
    },
  );

  it('has no views of memory without addresses', () => {
    using buffer = new NativeBuffer(ggml, small({ isHost: false, isPlain: false }), 64);
    expect(() => buffer.view(0, 1)).toThrow(invalid);
    expect(() => buffer.layoutView(0, 1)).toThrow(invalid);
  });
});
