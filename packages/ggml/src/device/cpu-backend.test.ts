import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { CpuBackend } from './cpu-backend.js';
import { dtype } from '../graph/dtype.js';
import { ComputeAllocator, Graph } from '../graph/graph.js';
import { shapeOf } from '../graph/tensor.js';
import { computeInvalid, ggml, numbers } from '../testing/graphs.js';

const invalid = expect.objectContaining(computeInvalid) as Error;

interface Prepared extends Disposable {
  readonly graph: Graph;
  result(): number[];
}

/** A chain of products of a square matrix with itself: as much work as wanted. */
function prepare(
  backend: CpuBackend,
  options: { readonly size: number; readonly products: number },
): Prepared {
  const { size, products } = options;
  const graph = new Graph(ggml, products + 2);
  const matrix = graph.input(dtype.F32, shapeOf(size, size));
  let x = matrix;
  for (let product = 0; product < products; product++) x = graph.matmul(matrix, x);
  graph.keep(x);
  graph.expand(x);
  const allocator = new ComputeAllocator(backend);
  allocator.allocate(graph);
  new Float32Array(graph.data(matrix)).set(numbers(size * size).map((value) => value / size));
  return {
    graph,
    result: () => [...new Float32Array(graph.data(x))],
    [Symbol.dispose]() {
      allocator[Symbol.dispose]();
      graph[Symbol.dispose]();
    },
  };
}

describe('CpuBackend', () => {
  it('leaves the event loop free while it computes, and takes one computation at a time', async () => {
    using backend = new CpuBackend(ggml, 1);
    using work = prepare(backend, { size: 512, products: 12 });
    const progress = { isDone: false };
    const computing = backend.compute(work.graph).finally(() => {
      progress.isDone = true;
    });
    expect(() => backend.compute(work.graph)).toThrow(invalid);
    expect(() => backend[Symbol.dispose]()).toThrow(invalid);
    let turns = 0;
    for (; !progress.isDone; turns++) await setImmediate();
    await computing;
    expect(turns).toBeGreaterThan(10);
    // Free again.
    await backend.compute(work.graph);
  });

  it('computes with fewer of its threads from the next computation on, and with all again', async () => {
    using backend = new CpuBackend(ggml, 3);
    using work = prepare(backend, { size: 64, products: 4 });
    await backend.compute(work.graph);
    const all = work.result();
    for (const threads of [1, 1, 2, 3, 2]) {
      backend.useThreads(threads);
      await backend.compute(work.graph);
      expect(work.result()).toEqual(all);
    }
    for (const threads of [0, 4, 1.5]) expect(() => backend.useThreads(threads)).toThrow(invalid);
    const computing = backend.compute(work.graph);
    expect(() => backend.useThreads(1)).toThrow(invalid);
    await computing;
  });

  it('gives the same numbers on two threads as on one', async () => {
    const [one, two] = await Promise.all(
      [1, 2].map(async (threads) => {
        using backend = new CpuBackend(ggml, threads);
        using work = prepare(backend, { size: 96, products: 3 });
        await backend.compute(work.graph);
        return work.result();
      }),
    );
    expect(one?.some((value) => value !== 0)).toBe(true);
    expect(two).toEqual(one);
  });

  it.each([0, -1, 513, 1.5, NaN])('refuses %d threads', (threads) => {
    expect(() => new CpuBackend(ggml, threads)).toThrow(invalid);
  });

  it('describes its memory', () => {
    using backend = new CpuBackend(ggml, 1);
    expect(backend.plain).toMatchObject({ name: 'CPU', isPlain: true });
    expect(backend.preferred.every(({ name, isPlain }) => name !== '' && !isPlain)).toBe(true);
  });

  it('is disposed once, and refuses all use afterwards', () => {
    const backend = new CpuBackend(ggml, 2);
    using work = prepare(backend, { size: 8, products: 1 });
    backend[Symbol.dispose]();
    backend[Symbol.dispose]();
    expect(() => backend.compute(work.graph)).toThrow(invalid);
    expect(() => backend.setReferenceKernels(true)).toThrow(invalid);
  });
});

describe('ComputeAllocator', () => {
  it('refuses graphs whose memory it moved, until they are allocated again', async () => {
    using backend = new CpuBackend(ggml, 1);
    using allocator = new ComputeAllocator(backend);
    const square = (size: number): Graph => {
      const graph = new Graph(ggml, 4);
      const input = graph.input(dtype.F32, shapeOf(size, size));
      graph.expand(graph.matmul(input, input));
      return graph;
    };
    using small = square(8);
    using large = square(256);
    expect(() => backend.compute(small)).toThrow(invalid);
    allocator.allocate(small);
    await backend.compute(small);
    const bytesBefore = allocator.bytes;
    allocator.allocate(large);
    expect(allocator.bytes).toBeGreaterThan(bytesBefore);
    expect(() => backend.compute(small)).toThrow(invalid);
    allocator.allocate(small);
    await backend.compute(large);
    await backend.compute(small);
    allocator[Symbol.dispose]();
    expect(allocator.bytes).toBe(0);
    expect(() => allocator.allocate(small)).toThrow(invalid);
    expect(() => backend.compute(small)).toThrow(invalid);
  });

  it('keeps its memory, and the graph, as they are while that is computed', async () => {
    using backend = new CpuBackend(ggml, 1);
    using allocator = new ComputeAllocator(backend);
    using graph = new Graph(ggml, 4);
    const input = graph.input(dtype.F32, shapeOf(512, 512));
    graph.expand(graph.matmul(input, input));
    allocator.allocate(graph);
    const computing = backend.compute(graph);
    const uses = [
      () => graph[Symbol.dispose](),
      () => allocator[Symbol.dispose](),
      () => allocator.allocate(graph),
    ];
    for (const use of uses) expect(use).toThrow(invalid);
    await computing;
    allocator.allocate(graph);
  });

  it('refuses a graph that grew after it was allocated', () => {
    using backend = new CpuBackend(ggml, 1);
    using work = prepare(backend, { size: 8, products: 1 });
    work.graph.expand(work.graph.input(dtype.F32, shapeOf(4)));
    expect(() => backend.compute(work.graph)).toThrow(invalid);
  });
});

describe('reference kernels', () => {
  /** One query over 1,024 cached tokens, where threads split the cache unless told otherwise. */
  async function attend(threads: number, isReference: boolean): Promise<number[]> {
    using backend = new CpuBackend(ggml, threads);
    backend.setReferenceKernels(isReference);
    using graph = new Graph(ggml, 8);
    const query = graph.input(dtype.F32, shapeOf(64, 1, 2));
    const keys = graph.input(dtype.F32, shapeOf(64, 1024, 2));
    const half = graph.tensor(dtype.F16, keys.shape);
    const cache = graph.copy(keys, half);
    const mask = graph.input(dtype.F16, shapeOf(1024));
    const result = graph.flashAttention(query, cache, cache, mask, 0.125);
    graph.keep(result);
    graph.expand(result);
    using allocator = new ComputeAllocator(backend);
    allocator.allocate(graph);
    new Float32Array(graph.data(query)).set(numbers(128));
    new Float32Array(graph.data(keys)).set(numbers(64 * 1024 * 2, 7));
    new Uint16Array(graph.data(mask)).fill(0);
    await backend.compute(graph);
    return [...new Float32Array(graph.data(result))];
  }

  it('give one result for every number of threads', async () => {
    const [one, two, ordinary] = [await attend(1, true), await attend(2, true), await attend(2, false)];
    expect(two).toEqual(one);
    // The ordinary kernels mean the same, but for the last bits.
    for (const [i, value] of ordinary.entries()) expect(value).toBeCloseTo(one[i] ?? NaN, 3);
  });
});
