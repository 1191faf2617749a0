import { describe, expect, it } from 'vitest';
import { CpuBackend } from '../device/cpu-backend.js';
import { backend, computeInvalid, ggml, numbers } from '../testing/graphs.js';
import { dtype } from './dtype.js';
import { Graph } from './graph.js';
import { Scheduler } from './scheduler.js';
import { shapeOf, type Tensor } from './tensor.js';

const invalid = expect.objectContaining(computeInvalid) as Error;
const shortage = expect.objectContaining({ code: 'COMPUTE_FAILED' }) as Error;

interface Work extends Disposable {
  readonly graph: Graph;
  /** @returns what was computed */
  run(scheduler: Scheduler, input: Float32Array): Promise<Float32Array>;
}

/** Adds its input to what is written into another tensor that nobody placed, and doubles that so many times. */
function work(count: number, doublings: number): Work {
  const graph = new Graph(ggml, 8 + 2 * doublings);
  const input = graph.input(dtype.F32, shapeOf(count));
  const written = graph.input(dtype.F32, shapeOf(count));
  graph.expand(graph.copy(input, written));
  let sum: Tensor = graph.add(written, input);
  for (let i = 0; i < doublings; i++) sum = graph.add(sum, sum);
  graph.keep(sum);
  graph.expand(sum);
  return {
    graph,
    run: async (scheduler, values) => {
      graph.write(input, new Uint8Array(values.buffer));
      await scheduler.compute(graph);
      const result = new Float32Array(count);
      graph.read(sum, new Uint8Array(result.buffer));
      return result;
    },
    [Symbol.dispose]: () => graph[Symbol.dispose](),
  };
}

const times = (values: Float32Array, factor: number): Float32Array => values.map((value) => value * factor);

// Two backends of the CPU: what a card does is in the tests of stages, in processes that its driver may end.
describe('Scheduler', () => {
  it('computes the graph that it has memory for, as often as wanted', async () => {
    using device = new CpuBackend(ggml, 1);
    using scheduler = new Scheduler(device, backend);
    using small = work(64, 1);
    scheduler.allocate(small.graph);
    for (const seed of [1, 2]) {
      const values = numbers(64, seed);
      expect(await small.run(scheduler, values)).toEqual(times(values, 4));
    }
    expect(scheduler.parts).toBe(1);
    expect(scheduler.deviceBytes + scheduler.hostBytes).toBeGreaterThan(0);
  });

  it('keeps its memory as it is while it computes', async () => {
    using device = new CpuBackend(ggml, 1);
    using scheduler = new Scheduler(device, backend);
    using large = work(2 ** 20, 8);
    scheduler.allocate(large.graph);
    const computing = scheduler.compute(large.graph);
    const uses = [
      () => scheduler.allocate(large.graph),
      () => scheduler[Symbol.dispose](),
      () => large[Symbol.dispose](),
    ];
    for (const use of uses) expect(use).toThrow(invalid);
    await computing;
  });

  it('voids a graph by the next one, instead of computing that in its place', async () => {
    using device = new CpuBackend(ggml, 1);
    using scheduler = new Scheduler(device, backend);
    using first = work(64, 1);
    using second = work(32, 2);
    scheduler.allocate(first.graph);
    scheduler.allocate(second.graph);
    expect(() => scheduler.compute(first.graph)).toThrow(invalid);
    const values = numbers(32);
    expect(await second.run(scheduler, values)).toEqual(times(values, 8));
  });

  it('makes room for a graph of thousands of tensors', async () => {
    using device = new CpuBackend(ggml, 1);
    using scheduler = new Scheduler(device, backend);
    using small = work(8, 1);
    scheduler.allocate(small.graph);
    using large = work(8, 3000);
    scheduler.allocate(large.graph);
    expect(await large.run(scheduler, new Float32Array(8))).toEqual(new Float32Array(8));
  });

  it('refuses what memory is short for, and takes a smaller one afterwards', async () => {
    using device = new CpuBackend(ggml, 1);
    using scheduler = new Scheduler(device, backend);
    using large = work(2 ** 40, 1);
    expect(() => scheduler.allocate(large.graph)).toThrow(shortage);
    expect(() => scheduler.compute(large.graph)).toThrow(invalid);
    using small = work(8, 1);
    scheduler.allocate(small.graph);
    const values = numbers(8);
    expect(await small.run(scheduler, values)).toEqual(times(values, 4));
  });

  it('computes nothing while either of its devices does', async () => {
    using device = new CpuBackend(ggml, 1);
    using scheduler = new Scheduler(device, backend);
    using small = work(8, 1);
    scheduler.allocate(small.graph);
    for (const each of [device, backend]) {
      const release = each.occupy();
      expect(() => scheduler.compute(small.graph)).toThrow(invalid);
      release();
    }
    await scheduler.compute(small.graph);
  });

  it('has nothing left once it is disposed', () => {
    using device = new CpuBackend(ggml, 1);
    const scheduler = new Scheduler(device, backend);
    using small = work(8, 1);
    scheduler.allocate(small.graph);
    scheduler[Symbol.dispose]();
    expect(() => scheduler.compute(small.graph)).toThrow(invalid);
    expect(scheduler.deviceBytes).toBe(0);
  });
});
