import { silentLogger } from '@butterfly/common';
import { CpuBackend, adamwValues, loadGgml } from '@butterfly/ggml';
import { describe, expect, it } from 'vitest';
import { Network, type Batch } from './network.js';
import { Parameters } from './parameters.js';
import { createRandom } from './random.js';
import type { ModelShape } from './shape.js';

const shape: ModelShape = {
  layers: 2,
  hidden: 64,
  heads: 2,
  feedForward: 96,
  vocabulary: 32,
  context: 16,
  normEpsilon: 1e-5,
  ropeBase: 10_000,
};
const windows = 2;
const ggml = loadGgml({ log: silentLogger });

/** Two documents in each window. */
function batch(key: string): Batch {
  const random = createRandom(key);
  const tokens = Int32Array.from({ length: shape.context * windows }, () => random.below(shape.vocabulary));
  return {
    tokens,
    targets: tokens.map(() => random.below(shape.vocabulary)),
    documentStarts: tokens.map((_, index) => (index % shape.context < 6 ? 0 : 6)),
  };
}

/** Weights large enough for every gradient to matter. */
function largeWeights(parameters: Parameters): void {
  const random = createRandom('large');
  for (const { plan, tensor } of parameters.list) {
    const values = parameters.values(tensor);
    random.fillNormal(values, plan.rows === null ? 0.3 : 0.15);
    if (plan.rows === null) values.forEach((value, index) => (values[index] = value + 1));
  }
}

describe('the network in training', () => {
  it('has the gradients that numeric differences give', async () => {
    using backend = new CpuBackend(ggml, 1);
    using parameters = new Parameters(backend, shape);
    largeWeights(parameters);
    using network = new Network(backend, shape, parameters, windows, 'gradients');
    using measure = new Network(backend, shape, parameters, windows, 'loss');
    const some = batch('gradients');
    expect(await network.run(some)).toBeCloseTo(await measure.run(some), 5);
    const random = createRandom('directions');
    for (const { plan, tensor } of parameters.list) {
      const values = parameters.values(tensor);
      const start = values.slice();
      const direction = new Float32Array(values.length);
      random.fillNormal(direction, 1 / Math.sqrt(values.length));
      const lossAt = (distance: number): Promise<number> => {
        values.set(start.map((value, index) => value + distance * (direction[index] ?? 0)));
        return measure.run(some);
      };
      const distance = 0.02;
      const slope = ((await lossAt(distance)) - (await lossAt(-distance))) / (2 * distance);
      values.set(start);
      const gradient = network
        .gradient(plan.name)
        .reduce((sum, value, index) => sum + value * (direction[index] ?? 0), 0);
      expect(Math.abs(gradient - slope), `${plan.name}: ${gradient} against ${slope}`).toBeLessThan(
        0.01 * Math.abs(slope) + 2e-4,
      );
    }
  });

  it('keeps documents apart, so that their order in a window does not matter', async () => {
    using backend = new CpuBackend(ggml, 1);
    using parameters = new Parameters(backend, shape);
    largeWeights(parameters);
    using network = new Network(backend, shape, parameters, windows, 'loss');
    const half = shape.context / 2;
    const swapped = (values: Int32Array): Int32Array => values.map((_, index) => values[index ^ half] ?? 0);
    const { tokens, targets } = batch('documents');
    const lossesWith = async (documentStarts: Int32Array): Promise<[number, number]> => [
      await network.run({ tokens, targets, documentStarts }),
      await network.run({ tokens: swapped(tokens), targets: swapped(targets), documentStarts }),
    ];
    const [apart, apartSwapped] = await lossesWith(tokens.map((_, index) => index & half));
    const [joined, joinedSwapped] = await lossesWith(tokens.map(() => 0));
    expect(apartSwapped).toBeCloseTo(apart, 4);
    expect(Math.abs(joinedSwapped - joined)).toBeGreaterThan(1e-3);
  });

  it('learns a batch by heart', async () => {
    using backend = new CpuBackend(ggml, 1);
    using parameters = new Parameters(backend, shape);
    parameters.initialize(1);
    using network = new Network(backend, shape, parameters, windows, 'train');
    const losses: number[] = [];
    for (let step = 1; step <= 60; step++) {
      const values = adamwValues({
        learningRate: 0.01,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-8,
        weightDecay: 0,
        step,
      });
      parameters.values(parameters.matrixValues).set(values);
      parameters.values(parameters.vectorValues).set(values);
      losses.push(await network.run(batch('by heart')));
    }
    expect(losses[0]).toBeGreaterThan(3);
    expect(losses.at(-1)).toBeLessThan(0.5);
  });
});
