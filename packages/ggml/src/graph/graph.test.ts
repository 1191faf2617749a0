import { describe, expect, it } from 'vitest';
import { dtype, isWeightType } from './dtype.js';
import { quantizeRows } from '../training/quantize.js';
import { elements, shapeOf, type Shape } from './tensor.js';
import { compute, computeFloats, ggml, halfToNumber, numbers } from '../testing/graphs.js';

const f32 = Math.fround;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const at = (values: ArrayLike<number>, index: number): number => values[index] ?? NaN;

/** Each number within `tolerance` of the other, relative to what is compared where that is above 1. */
function expectClose(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  const error = actual.map((value, i) => Math.abs(value - at(expected, i)) / Math.max(1, Math.abs(value)));
  expect(Math.max(...error)).toBeLessThanOrEqual(tolerance);
}

describe('rows', () => {
  it('looks up F32 exactly, in any order and more than once', async () => {
    const table = numbers(5 * 3);
    const rows = await computeFloats((graph, fill) =>
      graph.getRows(fill(shapeOf(3, 5), table), fill(shapeOf(4), Int32Array.of(4, 0, 4, 2), dtype.I32)),
    );
    expect(rows).toEqual([4, 0, 4, 2].flatMap((row) => [...table.subarray(row * 3, row * 3 + 3)]));
  });

  it('looks up quantised rows', async () => {
    const values = numbers(64 * 4);
    const table = quantizeRows(ggml, dtype.Q8_0, values, 4, 64);
    const rows = await computeFloats((graph, fill) =>
      graph.getRows(fill(shapeOf(64, 4), table, dtype.Q8_0), fill(shapeOf(1), Int32Array.of(2), dtype.I32)),
    );
    expectClose(rows, [...values.subarray(128, 192)], 1 / 127);
  });

  it('writes rows, converting them, and leaves the others alone', async () => {
    const rows = numbers(2 * 4, 3);
    const stored = await compute((graph, fill) => {
      const table = fill(shapeOf(4, 3), new Uint16Array(12).fill(0x3c00), dtype.F16);
      return graph.setRows(
        table,
        fill(shapeOf(4, 2), rows),
        fill(shapeOf(2), BigInt64Array.of(2n, 0n), dtype.I64),
      );
    });
    const expected = [...rows.subarray(4), 1, 1, 1, 1, ...rows.subarray(0, 4)];
    expectClose([...new Uint16Array(stored)].map(halfToNumber), expected, 2 ** -11);
  });
});

describe('arithmetic', () => {
  const a = numbers(6 * 4, 1);
  const b = numbers(6, 2);

  it('adds and multiplies, repeating the second operand', async () => {
    const added = await computeFloats((graph, fill) =>
      graph.add(fill(shapeOf(6, 4), a), fill(shapeOf(6), b)),
    );
    expect(added).toEqual([...a].map((value, i) => f32(value + at(b, i % 6))));
    const multiplied = await computeFloats((graph, fill) =>
      graph.multiply(fill(shapeOf(6, 4), a), fill(shapeOf(6), b)),
    );
    expect(multiplied).toEqual([...a].map((value, i) => f32(value * at(b, i % 6))));
  });

  it('normalises by the root of the mean square', async () => {
    const epsilon = 1e-5;
    const normed = await computeFloats((graph, fill) => graph.rmsNorm(fill(shapeOf(6, 4), a), epsilon));
    const expected = [...a].map((value, i) => {
      const row = [...a.subarray(i - (i % 6), i - (i % 6) + 6)];
      return value / Math.sqrt(sum(row.map((x) => x * x)) / 6 + epsilon);
    });
    expectClose(normed, expected, 1e-6);
  });

  it('gates by silu', async () => {
    const up = numbers(6 * 4, 5);
    const gated = await computeFloats((graph, fill) =>
      graph.swiglu(fill(shapeOf(6, 4), a), fill(shapeOf(6, 4), up)),
    );
    const expected = [...a].map((gate, i) => (gate / (1 + Math.exp(-gate))) * at(up, i));
    expectClose(gated, expected, 1e-5);
  });
});

describe('matmul', () => {
  /** Weights [k, m] by rows [k, n]. */
  function multiply(weights: ArrayLike<number>, rows: ArrayLike<number>, k: number): number[] {
    const result: number[] = [];
    for (let row = 0; row < rows.length / k; row++)
      for (let m = 0; m < weights.length / k; m++)
        result.push(sum(Array.from({ length: k }, (_, i) => at(weights, m * k + i) * at(rows, row * k + i))));
    return result;
  }

  it('multiplies F32', async () => {
    const [weights, rows] = [numbers(33 * 5, 1), numbers(33 * 7, 2)];
    const product = await computeFloats((graph, fill) =>
      graph.matmul(fill(shapeOf(33, 5), weights), fill(shapeOf(33, 7), rows)),
    );
    expectClose(product, multiply(weights, rows, 33), 1e-5);
  });

  it('repeats weights over more matrices', async () => {
    const [weights, rows] = [numbers(8 * 3, 1), numbers(8 * 2 * 4, 2)];
    const product = await computeFloats((graph, fill) =>
      graph.matmul(fill(shapeOf(8, 3), weights), fill(shapeOf(8, 2, 4), rows)),
    );
    expectClose(product, multiply(weights, rows, 8), 1e-5);
  });

  // Bounds of some five standard deviations of rounding weights and rows, independently.
  it.each([
    ['F16', dtype.F16, 5e-3],
    ['BF16', dtype.BF16, 4e-2],
    ['Q8_0', dtype.Q8_0, 0.15],
    ['Q4_0', 2, 0.8],
    ['Q4_K', 12, 0.6],
    ['Q6_K', 14, 0.2],
  ])('multiplies %s about as well as F32', async (_, type, tolerance) => {
    const [weights, rows] = [numbers(256 * 6, 1), numbers(256 * 3, 2)];
    const product = await computeFloats((graph, fill) =>
      graph.matmul(
        fill(shapeOf(256, 6), quantizeRows(ggml, type, weights, 6, 256), type),
        fill(shapeOf(256, 3), rows),
      ),
    );
    expectClose(product, multiply(weights, rows, 256), tolerance);
    expect(product.some((value) => Math.abs(value) > 1)).toBe(true);
  });

  // IDs that ggml has retired leave gaps.
  const types = Array.from({ length: 43 }, (_, type) => type).filter((type) => {
    const isRetired = ggml.base.ggml_blck_size(type) === 0;
    return !isRetired && isWeightType(type);
  });
  it.each(types)('takes weights of type %i for products and look-ups', async (type) => {
    const bytes = new Uint8Array((256 / ggml.base.ggml_blck_size(type)) * ggml.base.ggml_type_size(type) * 2);
    const product = await computeFloats((graph, fill) =>
      graph.matmul(fill(shapeOf(256, 2), bytes, type), fill(shapeOf(256), numbers(256))),
    );
    const row = await computeFloats((graph, fill) =>
      graph.getRows(fill(shapeOf(256, 2), bytes, type), fill(shapeOf(1), Int32Array.of(1), dtype.I32)),
    );
    expect([product.length, row.length]).toEqual([2, 256]);
    expect([...product, ...row].every(Number.isFinite)).toBe(true);
  });
});

describe('layout', () => {
  const values = Float32Array.from({ length: 24 }, (_, i) => i);

  it('reshapes, swaps and looks through windows without changing a number', async () => {
    const swapped = await computeFloats((graph, fill) => {
      const tensor = graph.reshape(fill(shapeOf(24), values), shapeOf(4, 3, 2));
      const turned = graph.swapRowsAndMatrices(tensor);
      expect(turned).toMatchObject({ shape: [4, 2, 3, 1], strides: [4, 48, 16, 96] });
      return graph.copy(turned, graph.tensor(dtype.F32, turned.shape));
    });
    const rows = [0, 3, 1, 4, 2, 5];
    expect(swapped).toEqual(rows.flatMap((row) => [...values.subarray(row * 4, row * 4 + 4)]));

    const window = await computeFloats((graph, fill) => {
      const view = graph.view(fill(shapeOf(6, 4), values), shapeOf(2, 3), [24, 72, 72], 8);
      return graph.copy(view, graph.tensor(dtype.F32, view.shape));
    });
    expect(window).toEqual([2, 3, 8, 9, 14, 15]);
  });

  it('takes a window of a window', async () => {
    const inner = await computeFloats((graph, fill) => {
      const outer = graph.view(fill(shapeOf(6, 4), values), shapeOf(4, 3), [24, 72, 72], 24);
      const view = graph.view(outer, shapeOf(2, 2), [24, 48, 48], 8 + 24);
      return graph.copy(view, graph.tensor(dtype.F32, view.shape));
    });
    expect(inner).toEqual([14, 15, 20, 21]);
  });

  it.each([dtype.F16, dtype.BF16])('copies through type %i and back', async (type) => {
    const copied = await computeFloats((graph, fill) => {
      const shape: Shape = shapeOf(4, 6);
      const narrow = graph.copy(fill(shape, values), graph.tensor(type, shape));
      return graph.copy(narrow, graph.tensor(dtype.F32, shape));
    });
    expect(copied).toEqual([...values]);
    expect(elements(shapeOf(4, 6))).toBe(24);
  });
});
