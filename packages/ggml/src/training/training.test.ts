import { silentLogger } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { CpuBackend } from '../device/cpu-backend.js';
import { dtype } from '../graph/dtype.js';
import { ComputeAllocator } from '../graph/graph.js';
import { loadGgml } from '../library/library.js';
import { shapeOf } from '../graph/tensor.js';
import { adamwValues, adamwValuesShape, TrainingGraph } from './training.js';

const ggml = loadGgml({ log: silentLogger });
const adamw = { learningRate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, step: 1 };

describe('TrainingGraph', () => {
  it('finds the gradient of a product of shared sources and takes a step against it', async () => {
    using backend = new CpuBackend(ggml, 1);
    using weights = new TrainingGraph(ggml, 8);
    using buffer = backend.allocate(8192);
    buffer.clear();
    const [parameter, momentum, variance, values, seed] = [
      shapeOf(4, 1),
      shapeOf(4, 1),
      shapeOf(4, 1),
      adamwValuesShape,
      shapeOf(1),
    ].map((shape, index) => {
      const tensor = weights.tensor(dtype.F32, shape);
      weights.place(tensor, buffer, index * 128);
      return tensor;
    });
    if (!parameter || !momentum || !variance || !values || !seed) throw new Error('five tensors were made');
    const data = (tensor: typeof parameter): Float32Array => new Float32Array(weights.data(tensor));
    data(parameter).set([1, -2, 3, 0.5]);
    data(values).set(adamwValues(adamw));
    data(seed).set([1]);

    using graph = new TrainingGraph(ggml, 32);
    using allocator = new ComputeAllocator(backend);
    graph.parameter(parameter);
    // x * x summed up over the columns: its gradient is 2x, half from each side.
    const loss = graph.matmul(parameter, parameter);
    graph.expand(loss);
    graph.backward(loss, seed);
    const gradient = graph.gradient(parameter);
    graph.keep(gradient);
    graph.expand(gradient);
    graph.adamw(parameter, { momentum, variance, values });
    allocator.allocate(graph);
    await backend.compute(graph);
    expect([...new Float32Array(graph.data(gradient))]).toEqual([2, -4, 6, 1]);
    // The first step of AdamW goes by the learning rate, against the sign of the gradient.
    const after = [...data(parameter)];
    for (const [index, expected] of [0.9, -1.9, 2.9, 0.4].entries())
      expect(after[index]).toBeCloseTo(expected, 5);
  });

  it('refuses what it cannot differentiate', () => {
    using graph = new TrainingGraph(ggml, 32);
    const a = graph.tensor(dtype.F32, shapeOf(4, 2));
    const row = graph.tensor(dtype.F32, shapeOf(4));
    expect(() => graph.add(a, row)).toThrow(/broadcast/u);
    expect(() => graph.matmul(a, graph.tensor(dtype.F32, shapeOf(4, 2, 3)))).toThrow(/broadcast/u);
    expect(() => graph.transposed(a, [0, 0, 1, 2])).toThrow(/order/u);
    expect(() => graph.gradient(a)).toThrow(/does not depend/u);
    expect(() => graph.parameter(graph.tensor(dtype.F16, shapeOf(4)))).toThrow(/parameter/u);
    expect(() => adamwValues({ ...adamw, step: 0 })).toThrow(/count from 1/u);
  });
});
