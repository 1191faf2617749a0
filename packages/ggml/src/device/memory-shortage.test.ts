import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { afterEach, describe, expect, it } from 'vitest';
import { CpuBackend } from './cpu-backend.js';
import { dtype } from '../graph/dtype.js';
import { ComputeAllocator, Graph } from '../graph/graph.js';
import { Softmax } from '../graph/softmax.js';
import { shapeOf } from '../graph/tensor.js';
import { backend, computeInvalid, ggml } from '../testing/graphs.js';

// Each test file is a process of its own: a crash fails this one alone.

const computeFailed: unknown = { code: 'COMPUTE_FAILED' };
const MiB = 2 ** 20;
const absurd = 2 ** 40;

/** A graph that adds two inputs of so many numbers. */
function sumOf(count: number): Graph {
  const graph = new Graph(ggml, 4);
  const sum = graph.add(graph.input(dtype.F32, shapeOf(count)), graph.input(dtype.F32, shapeOf(count)));
  graph.keep(sum);
  graph.expand(sum);
  return graph;
}

/** RLIMIT_AS of <sys/resource.h> on Linux. */
const addressSpace = 9;
const unlimited = 2n ** 64n - 1n;
let restore: () => void = () => undefined;
afterEach(() => restore());

/** Lets this process have only so much more address space; false where that cannot be had. */
function limitMemory(moreBytes: number): boolean {
  if (process.platform !== 'linux') return false;
  const setLimit = koffi.load(null).func('int setrlimit(int, const void *)') as (
    resource: number,
    limit: BigUint64Array,
  ) => number;
  const [pages = '0'] = readFileSync('/proc/self/statm', 'utf8').split(' ');
  const bytes = BigInt(pages) * 4096n + BigInt(moreBytes);
  restore = () => void setLimit(addressSpace, BigUint64Array.of(unlimited, unlimited));
  return setLimit(addressSpace, BigUint64Array.of(bytes, unlimited)) === 0;
}

describe('an allocation that fails', () => {
  it('ends its allocator and what was allocated in it, and nothing else', async () => {
    using allocator = new ComputeAllocator(backend);
    using small = sumOf(8);
    using large = sumOf(absurd);
    allocator.allocate(small);
    expect(() => allocator.allocate(large)).toThrow(expect.objectContaining(computeFailed));
    for (const graph of [small, large, small])
      expect(() => allocator.allocate(graph)).toThrow(expect.objectContaining(computeFailed));
    expect(allocator.bytes).toBe(0);
    expect(() => backend.compute(small)).toThrow(expect.objectContaining(computeInvalid));
    using other = new ComputeAllocator(backend);
    using again = sumOf(8);
    other.allocate(again);
    await backend.compute(again);
  });

  it('of a graph that had memory leaves no way to it', () => {
    using allocator = new ComputeAllocator(backend);
    using graph = new Graph(ggml, 4);
    const input = graph.input(dtype.F32, shapeOf(8));
    const sum = graph.add(input, input);
    graph.keep(sum);
    graph.expand(sum);
    allocator.allocate(graph);
    expect(graph.data(sum).byteLength).toBe(32);
    using large = sumOf(absurd);
    expect(() => allocator.allocate(large)).toThrow(expect.objectContaining(computeFailed));
    expect(() => graph.data(sum)).toThrow(expect.objectContaining(computeInvalid));
  });

  it('of weights leaves nothing', () => {
    expect(() => backend.allocate(absurd * 64)).toThrow(expect.objectContaining(computeFailed));
    for (const type of backend.preferred)
      expect(() => backend.allocate(absurd * 64, type)).toThrow(expect.objectContaining(computeFailed));
    using graph = new Graph(ggml, 4);
    const tensor = graph.tensor(dtype.F32, shapeOf(8));
    const buffer = backend.allocate(256);
    graph.place(tensor, buffer, 0);
    buffer[Symbol.dispose]();
    buffer[Symbol.dispose]();
    expect(() => graph.data(tensor)).toThrow(expect.objectContaining(computeInvalid));
    using from = backend.allocate(256);
    expect(() => graph.setData(tensor, from, 32)).toThrow(expect.objectContaining(computeInvalid));
  });

  it('of a softmax is no crash', () => {
    expect(() => new Softmax(backend, absurd, 16)).toThrow(expect.objectContaining(computeFailed));
  });

  it('for want of address space is refused, and all goes on with less', async (context) => {
    using allocator = new ComputeAllocator(backend);
    if (!limitMemory(192 * MiB)) context.skip();
    // A context of this many tensors takes some gigabytes, and threads the room of their stacks.
    expect(() => new Graph(ggml, 2 ** 20)).toThrow(expect.objectContaining(computeFailed));
    expect(() => new CpuBackend(ggml, 256)).toThrow(expect.objectContaining(computeFailed));
    expect(() => backend.allocate(512 * MiB)).toThrow(expect.objectContaining(computeFailed));
    using large = sumOf(128 * MiB);
    expect(() => allocator.allocate(large)).toThrow(expect.objectContaining(computeFailed));
    using small = sumOf(8);
    expect(() => allocator.allocate(small)).toThrow(expect.objectContaining(computeFailed));
    using other = new ComputeAllocator(backend);
    other.allocate(small);
    await backend.compute(small);
  });
});
