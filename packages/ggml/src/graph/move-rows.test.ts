import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backend, computeInvalid, ggml } from '../testing/graphs.js';
import { dtype } from './dtype.js';
import { Graph } from './graph.js';
import { moveRows } from './move-rows.js';
import { TensorMemory } from './tensor-memory.js';
import { shapeOf, type Tensor } from './tensor.js';

const columns = 64;
const rows = 40;

/** With a tensor of rows that differ in every byte, and its memory. */
function withRows(type: number, use: (graph: Graph, tensor: Tensor, memory: Uint8Array) => void): void {
  using graph = new Graph(ggml, 1);
  const tensor = graph.tensor(type, shapeOf(columns, rows));
  using memory = new TensorMemory(backend, graph, [tensor]);
  const bytes = memory.view(tensor);
  for (const i of bytes.keys()) bytes[i] = (i * 31 + (i >> 8)) % 256;
  use(graph, tensor, bytes);
}

describe('moveRows', () => {
  it.each([
    ['F16', dtype.F16],
    ['Q8_0', dtype.Q8_0],
  ])('moves rows of %s as if all were read before any is written', (_, type) => {
    const places = fc
      .nat(rows)
      .chain((count) =>
        fc.record({ rows: fc.constant(count), from: fc.nat(rows - count), to: fc.nat(rows - count) }),
      );
    fc.assert(
      fc.property(places, (move) => {
        withRows(type, (graph, tensor, memory) => {
          const row = tensor.strides[1];
          const expected = memory.slice();
          moveRows(ggml, graph, tensor, move);
          expected.copyWithin(move.to * row, move.from * row, (move.from + move.rows) * row);
          expect(Buffer.compare(memory, expected)).toBe(0);
        });
      }),
    );
  });

  it.each([
    { from: 0, to: 1, rows },
    { from: rows, to: 0, rows: 1 },
    { from: -1, to: 0, rows: 1 },
    { from: 0, to: 0, rows: -1 },
  ])('refuses %j', (move) => {
    withRows(dtype.F16, (graph, tensor) => {
      expect(() => moveRows(ggml, graph, tensor, move)).toThrow(
        expect.objectContaining(computeInvalid) as Error,
      );
    });
  });
});
