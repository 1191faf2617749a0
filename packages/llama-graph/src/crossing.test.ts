import { CloningGraph, ComputeAllocator, CpuBackend, dtype, shapeOf, type Shape } from '@butterfly/ggml';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { crossingParts, packCrossing, unpackCrossing, widthOf, type CrossingPart } from './crossing.js';
import { ggml } from './testing/fixtures.js';
import { HandMadeGraph } from './testing/hand-made-graph.js';

const backend = new CpuBackend(ggml, 1);
afterAll(() => backend[Symbol.dispose]());

const surveyed = 7;
const size = fc.integer({ min: 1, max: 6 });
/** Shapes by rows: a plane, several numbers of each row in a row, and several planes. */
const shapes: fc.Arbitrary<(rows: number) => Shape> = fc
  .tuple(size, size, fc.constantFrom('plane', 'together', 'apart'))
  .map(([a, b, kind]) => (rows: number): Shape => {
    if (kind === 'plane') return shapeOf(a, rows);
    return kind === 'together' ? shapeOf(a, b, rows) : shapeOf(a, rows, b);
  });

function partsOf(made: readonly ((rows: number) => Shape)[]): CrossingPart[] | null {
  const graph = new HandMadeGraph();
  for (const shape of made) graph.node('ADD', [], { shape: shape(surveyed) });
  return crossingParts(graph, [...made.keys()], surveyed);
}

describe('what crosses a cut', () => {
  it('lies row by row, each row in one piece, and is on the other side what it was', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(shapes, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 9 }),
        async (made, rows) => {
          const parts = partsOf(made) ?? [];
          expect(parts).toHaveLength(made.length);
          const width = widthOf(parts);
          using graph = new CloningGraph(ggml, 128);
          const tensors = made.map((shape) => graph.input(dtype.F32, shape(rows)));
          const packed = packCrossing(
            graph,
            parts.flatMap((part, i) => (tensors[i] ? [{ tensor: tensors[i], part }] : [])),
            rows,
          );
          // A tensor of its own, as what crosses is another input on the other side.
          const crossed = graph.packed(packed, width, rows);
          const back = unpackCrossing(
            graph,
            crossed,
            parts,
            (position) => made[position]?.(rows) ?? shapeOf(1),
          );
          const results = [...back.values()].map((tensor) =>
            graph.packed(tensor, tensor.shape[0], tensor.shape[1] * tensor.shape[2]),
          );
          for (const each of [crossed, ...results]) {
            graph.keep(each);
            graph.expand(each);
          }
          using allocator = new ComputeAllocator(backend);
          allocator.allocate(graph);
          const numbers = (i: number): Float32Array => {
            const tensor = tensors[i];
            if (!tensor) throw new RangeError(`there is no tensor ${i}`);
            return new Float32Array(graph.data(tensor));
          };
          const sent = tensors.map((_, i) => numbers(i).map((__, at) => i * 1000 + at));
          for (const [i, values] of sent.entries()) numbers(i).set(values);
          await backend.compute(graph);
          expect([...back.values()].map(({ shape }) => shape)).toEqual(made.map((shape) => shape(rows)));
          for (const [i, result] of results.entries())
            expect([...new Float32Array(graph.data(result))]).toEqual([...(sent[i] ?? [])]);
          // Rows of other numbers than those of the row are none.
          const all = new Float32Array(graph.data(crossed));
          expect(all).toHaveLength(width * rows);
          let start = 0;
          for (const [i, part] of parts.entries()) {
            for (let row = 0; row < rows; row++)
              for (const value of all.slice(row * width + start, row * width + start + part.width))
                expect(rowOf(value - i * 1000, made[i]?.(rows) ?? shapeOf(1), part.dimension)).toBe(row);
            start += part.width;
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each<readonly [string, Partial<Parameters<HandMadeGraph['node']>[2]>]>([
    ['no numbers', { type: dtype.F16, shape: [4, surveyed, 1, 1] }],
    ['no rows', { shape: [4, 5, 1, 1] }],
    ['rows twice', { shape: [surveyed, surveyed, 1, 1] }],
    ['rows as numbers', { shape: [surveyed, 4, 1, 1] }],
    ['a fourth dimension', { shape: [4, surveyed, 2, 3] }],
  ])('is not %s', (_, change) => {
    const graph = new HandMadeGraph();
    graph.node('ADD', [], change);
    expect(crossingParts(graph, [0], surveyed)).toBeNull();
  });

  it('is no view of what is cached', () => {
    const graph = new HandMadeGraph();
    const cache = graph.leaf('cache_k_l1');
    graph.node('VIEW', [cache], { viewOf: cache, shape: [4, surveyed, 1, 1] });
    expect(crossingParts(graph, [0], surveyed)).toBeNull();
  });
});

/** The row that an element of a tensor belongs to. */
function rowOf(element: number, [first, second]: Shape, dimension: 1 | 2): number {
  return dimension === 1 ? Math.floor(element / first) % second : Math.floor(element / (first * second));
}
