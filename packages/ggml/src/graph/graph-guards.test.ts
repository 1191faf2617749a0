import { describe, expect, it } from 'vitest';
import { dtype } from './dtype.js';
import { ComputeAllocator, Graph, type RopeParams } from './graph.js';
import { shapeOf, type Shape, type Tensor } from './tensor.js';
import { backend, computeInvalid, ggml } from '../testing/graphs.js';

// Each of these would end the process, or read or write outside a tensor, if it reached ggml.

const invalid = expect.objectContaining(computeInvalid) as Error;
const { F32, F16, I32, I64, Q8_0 } = dtype;

type Make = (type: number, ...shape: Parameters<typeof shapeOf>) => Tensor;
type Case = readonly [what: string, call: (graph: Graph, t: Make) => unknown];

function refuses(operation: string, cases: readonly Case[]): void {
  it.each(cases)(`${operation} refuses %s`, (_, call) => {
    using graph = new Graph(ggml, 16);
    const make: Make = (type, ...shape) => graph.tensor(type, shapeOf(...shape));
    expect(() => call(graph, make)).toThrow(invalid);
  });
}

const rope: RopeParams = {
  dimensions: 8,
  mode: 0,
  originalContext: 64,
  base: 10_000,
  scale: 1,
  extrapolation: 0,
  attention: 1,
  betaFast: 32,
  betaSlow: 1,
};

describe('operations', () => {
  const attention = (g: Graph, q: Tensor, k: Tensor, mask: Tensor, v = k): Tensor =>
    g.flashAttention(q, k, v, mask, 1);
  refuses('getRows', [
    ['ids that are floats', (g, t) => g.getRows(t(F32, 4, 4), t(F32, 2))],
    ['ids of 64 bits', (g, t) => g.getRows(t(F32, 4, 4), t(I64, 2))],
    ['ids in a matrix', (g, t) => g.getRows(t(F32, 4, 4), t(I32, 2, 2))],
    ['a table of more than one matrix', (g, t) => g.getRows(t(F32, 4, 4, 2), t(I32, 2))],
    ['a table of integers', (g, t) => g.getRows(t(I32, 4, 4), t(I32, 2))],
  ]);
  refuses('setRows', [
    ['rows of another width', (g, t) => g.setRows(t(F16, 4, 8), t(F32, 5, 2), t(I64, 2))],
    ['another number of ids', (g, t) => g.setRows(t(F16, 4, 8), t(F32, 4, 2), t(I64, 3))],
    ['ids of 32 bits', (g, t) => g.setRows(t(F16, 4, 8), t(F32, 4, 2), t(I32, 2))],
    ['rows that are not F32', (g, t) => g.setRows(t(F16, 4, 8), t(F16, 4, 2), t(I64, 2))],
    ['a table of integers', (g, t) => g.setRows(t(I32, 4, 8), t(F32, 4, 2), t(I64, 2))],
    [
      'a type that is written with an importance matrix',
      (g, t) => g.setRows(t(16, 256, 8), t(F32, 256, 2), t(I64, 2)),
    ],
    ['tables of more than one matrix', (g, t) => g.setRows(t(F16, 4, 8, 2), t(F32, 4, 2), t(I64, 2))],
  ]);
  refuses('rmsNorm', [
    ['F16', (g, t) => g.rmsNorm(t(F16, 4), 1e-5)],
    ['a negative epsilon', (g, t) => g.rmsNorm(t(F32, 4), -1e-5)],
    ['no epsilon', (g, t) => g.rmsNorm(t(F32, 4), NaN)],
  ]);
  refuses('add and multiply', [
    ['other types', (g, t) => g.add(t(F16, 4), t(F16, 4))],
    ['mixed types', (g, t) => g.multiply(t(F32, 4), t(F16, 4))],
    ['a second operand that does not repeat', (g, t) => g.add(t(F32, 4, 4), t(F32, 3))],
    ['a second operand that is larger', (g, t) => g.multiply(t(F32, 4), t(F32, 4, 2))],
  ]);
  refuses('matmul', [
    ['rows of another width', (g, t) => g.matmul(t(F32, 4, 4), t(F32, 5, 2))],
    ['rows that are not F32', (g, t) => g.matmul(t(F32, 4, 4), t(F16, 4, 2))],
    ['integer weights', (g, t) => g.matmul(t(I32, 4, 4), t(F32, 4, 2))],
    ['weights of an intermediate type', (g, t) => g.matmul(t(9, 32, 4), t(F32, 32, 2))],
    ['more weight matrices than rows have', (g, t) => g.matmul(t(F32, 4, 4, 2), t(F32, 4, 2, 3))],
    [
      'weights whose rows overlap',
      (g, t) => g.matmul(g.view(t(F32, 8), shapeOf(4, 2), [0, 0, 0], 0), t(F32, 4)),
    ],
  ]);
  const turned = (g: Graph, tensor: Tensor): Tensor => g.transpose(tensor);
  refuses('an operation', [
    ['a table whose rows are columns', (g, t) => g.getRows(turned(g, t(F32, 4, 4)), t(I32, 2))],
    ['rows to write that are columns', (g, t) => g.setRows(t(F16, 4, 8), turned(g, t(F32, 2, 4)), t(I64, 2))],
    ['to write into columns', (g, t) => g.setRows(turned(g, t(F32, 8, 4)), t(F32, 4, 2), t(I64, 2))],
    ['to norm columns', (g, t) => g.rmsNorm(turned(g, t(F32, 2, 4)), 1e-5)],
    ['to add to columns', (g, t) => g.add(turned(g, t(F32, 2, 4)), t(F32, 4, 2))],
    ['to repeat columns', (g, t) => g.multiply(t(F32, 4, 4), turned(g, t(F32, 2, 4)))],
    ['to multiply columns', (g, t) => g.matmul(t(F32, 4, 4), turned(g, t(F32, 2, 4)))],
    ['experts for columns', (g, t) => g.matmulExperts(t(F32, 4, 4, 2), turned(g, t(F32, 2, 4)), t(I32, 2))],
    ['experts that are columns', (g, t) => g.matmulExperts(turned(g, t(F32, 4, 4)), t(F32, 4, 1), t(I32, 1))],
    ['to rotate columns', (g, t) => g.rope(turned(g, t(F32, 2, 8, 3)), t(I32, 3), null, rope)],
    ['factors with gaps', (g, t) => g.rope(t(F32, 8, 2, 3), t(I32, 3), turned(g, t(F32, 2, 4)), rope)],
    [
      'queries that are columns',
      (g, t) => attention(g, turned(g, t(F32, 2, 8, 2)), t(F16, 8, 4, 2), t(F16, 4, 2)),
    ],
    [
      'values that are columns',
      (g, t) => attention(g, t(F32, 8, 1, 2), t(F16, 8, 4, 2), t(F16, 4), turned(g, t(F16, 4, 8, 2))),
    ],
  ]);
  refuses('swiglu', [
    ['other types', (g, t) => g.swiglu(t(F16, 4), t(F16, 4))],
    ['two shapes', (g, t) => g.swiglu(t(F32, 4), t(F32, 4, 2))],
    [
      'rows with gaps',
      (g, t) => g.swiglu(t(F32, 4, 2), g.view(t(F32, 8, 2), shapeOf(4, 2), [32, 64, 64], 0)),
    ],
  ]);
  refuses('rope', [
    ['F16', (g, t) => g.rope(t(F16, 8, 2, 3), t(I32, 3), null, rope)],
    ['another number of positions', (g, t) => g.rope(t(F32, 8, 2, 3), t(I32, 2), null, rope)],
    ['positions that are floats', (g, t) => g.rope(t(F32, 8, 2, 3), t(F32, 3), null, rope)],
    ['more dimensions than a head', (g, t) => g.rope(t(F32, 4, 2, 3), t(I32, 3), null, rope)],
    ['odd dimensions', (g, t) => g.rope(t(F32, 8, 2, 3), t(I32, 3), null, { ...rope, dimensions: 7 })],
    ['no dimensions', (g, t) => g.rope(t(F32, 8, 2, 3), t(I32, 3), null, { ...rope, dimensions: 0 })],
    ['too few factors', (g, t) => g.rope(t(F32, 8, 2, 3), t(I32, 3), t(F32, 3), rope)],
    ['factors of another type', (g, t) => g.rope(t(F32, 8, 2, 3), t(I32, 3), t(F16, 4), rope)],
  ]);
  refuses('flashAttention', [
    ['queries that are not F32', (g, t) => attention(g, t(F16, 8, 1, 2), t(F16, 8, 4, 2), t(F16, 4))],
    ['keys of another head size', (g, t) => attention(g, t(F32, 8, 1, 2), t(F16, 4, 4, 2), t(F16, 4))],
    ['integer keys', (g, t) => attention(g, t(F32, 8, 1, 2), t(I32, 8, 4, 2), t(F16, 4))],
    ['integer values', (g, t) => attention(g, t(F32, 8, 1, 2), t(F16, 8, 4, 2), t(F16, 4), t(I32, 8, 4, 2))],
    ['fewer values', (g, t) => attention(g, t(F32, 8, 1, 2), t(F16, 8, 4, 2), t(F16, 4), t(F16, 8, 3, 2))],
    ['heads that do not divide', (g, t) => attention(g, t(F32, 8, 1, 3), t(F16, 8, 4, 2), t(F16, 4))],
    ['a mask of another length', (g, t) => attention(g, t(F32, 8, 1, 2), t(F16, 8, 4, 2), t(F16, 5))],
    ['a mask of other rows', (g, t) => attention(g, t(F32, 8, 3, 2), t(F16, 8, 4, 2), t(F16, 4, 2))],
    ['a mask that is not F16', (g, t) => attention(g, t(F32, 8, 1, 2), t(F16, 8, 4, 2), t(F32, 4))],
  ]);
  refuses('copy', [
    ['another number of elements', (g, t) => g.copy(t(F32, 4), t(F32, 5))],
    ['integers', (g, t) => g.copy(t(F32, 4), t(I64, 4))],
    ['quantised targets', (g, t) => g.copy(t(F32, 32), t(Q8_0, 32))],
  ]);
  refuses('reshape', [
    ['another number of elements', (g, t) => g.reshape(t(F32, 6), shapeOf(5))],
    ['fractions that multiply up', (g, t) => g.reshape(t(F32, 65), shapeOf(32.5, 2))],
    ['negative dimensions that multiply up', (g, t) => g.reshape(t(F32, 6), shapeOf(-2, -3))],
    ['rows that are no whole blocks', (g, t) => g.reshape(t(Q8_0, 64), shapeOf(16, 4))],
    ['what is not contiguous', (g, t) => g.reshape(g.swapRowsAndMatrices(t(F32, 2, 3, 4)), shapeOf(24))],
  ]);
  refuses('view', [
    ['a window behind the end', (g, t) => g.view(t(F32, 4, 4), shapeOf(4), [16, 16, 16], 52)],
    ['rows behind the end', (g, t) => g.view(t(F32, 4, 4), shapeOf(4, 5), [16, 16, 16], 0)],
    ['strides behind the end', (g, t) => g.view(t(F32, 4, 4), shapeOf(4, 2), [64, 64, 64], 0)],
    ['rows that overlap but would not fit', (g, t) => g.view(t(F32, 4), shapeOf(4, 9), [4, 4, 4], 0)],
    ['a negative offset', (g, t) => g.view(t(F32, 4, 4), shapeOf(4), [16, 16, 16], -4)],
    ['negative strides', (g, t) => g.view(t(F32, 4, 4), shapeOf(2, 2), [-8, 16, 16], 8)],
    ['half an element', (g, t) => g.view(t(F32, 4, 4), shapeOf(2), [16, 16, 16], 2)],
    ['half a block', (g, t) => g.view(t(Q8_0, 64), shapeOf(32), [34, 34, 34], 17)],
    ['no rows', (g, t) => g.view(t(F32, 4, 4), shapeOf(4, 0), [16, 16, 16], 0)],
    ['a fraction of a row', (g, t) => g.view(t(F32, 4, 4), shapeOf(4, 1.5), [16, 16, 16], 0)],
    [
      'more of a window than that has',
      (g, t) => {
        const window = g.view(t(F32, 8, 8), shapeOf(4, 2), [32, 4096, 4096], 0);
        return g.view(window, shapeOf(4, 4), [32, 128, 128], 0);
      },
    ],
  ]);
  refuses('tensor', [
    ...[0, -1, 1.5, NaN].map((n): Case => [`a dimension of ${n}`, (_, t) => t(F32, 4, n)]),
    ['more bytes than there are', (_, t) => t(F32, 2 ** 30, 2 ** 30)],
    ['an unknown type', (_, t) => t(43, 4)],
    ['rows that are no whole blocks', (_, t) => t(Q8_0, 33)],
  ]);
});

describe('capacity', () => {
  it.each([0, -1, 1.5, NaN, 2 ** 20 + 1])('refuses a graph of %d tensors', (tensorsMax) => {
    expect(() => new Graph(ggml, tensorsMax)).toThrow(invalid);
  });

  it('refuses one tensor more than it was made for, views included', () => {
    using graph = new Graph(ggml, 3);
    const tensor = graph.tensor(F32, shapeOf(4));
    const view = graph.reshape(tensor, shapeOf(2, 2));
    graph.expand(graph.add(view, view));
    const more = [
      () => graph.tensor(F32, shapeOf(1)),
      () => graph.add(view, view),
      () => graph.rmsNorm(tensor, 1e-5),
    ];
    for (const make of more) expect(make).toThrow(invalid);
  });

  it('computes with as many tensors of other graphs as its own can read', () => {
    using other = new Graph(ggml, 8);
    const weight = (): Tensor => other.tensor(F32, shapeOf(4, 4));
    using graph = new Graph(ggml, 3);
    graph.expand(graph.add(graph.matmul(weight(), weight()), graph.matmul(weight(), weight())));
    expect(ggml.base.ggml_graph_n_nodes(graph.pointer)).toBe(3);
  });
});

describe('memory', () => {
  const shape: Shape = shapeOf(8, 8);

  it('places a tensor once, inside its buffer and aligned', () => {
    using buffer = backend.allocate(1024);
    using graph = new Graph(ggml, 8);
    const tensor = graph.tensor(F32, shape);
    for (const offset of [-32, 4, 1.5, NaN, 1024 - 224, 1024])
      expect(() => graph.place(tensor, buffer, offset)).toThrow(invalid);
    graph.place(tensor, buffer, 768);
    expect(graph.data(tensor).byteLength).toBe(256);
    expect(() => graph.place(tensor, buffer, 0)).toThrow(invalid);
    expect(() => graph.place(graph.reshape(tensor, shapeOf(64)), buffer, 0)).toThrow(invalid);
    expect(() => graph.place(graph.rmsNorm(tensor, 1e-5), buffer, 0)).toThrow(invalid);
  });

  it('places no input that an allocator placed', () => {
    using buffer = backend.allocate(1024);
    using graph = new Graph(ggml, 8);
    const input = graph.input(F32, shape);
    graph.expand(graph.rmsNorm(input, 1e-5));
    using allocator = new ComputeAllocator(backend);
    allocator.allocate(graph);
    expect(() => graph.place(input, buffer, 0)).toThrow(invalid);
  });

  it('fills a tensor with exactly its bytes, once it has memory', async () => {
    using from = backend.allocate(512);
    using buffer = backend.allocate(512);
    using graph = new Graph(ggml, 8);
    const tensor = graph.tensor(F32, shape);
    expect(() => graph.setData(tensor, from, 256)).toThrow(invalid);
    expect(() => graph.data(tensor)).toThrow(invalid);
    graph.place(tensor, buffer, 0);
    for (const bytes of [0, 255, 257, 512, NaN])
      expect(() => graph.setData(tensor, from, bytes)).toThrow(invalid);
    from.view(0, 256).fill(7);
    await graph.setData(tensor, from, 256);
    expect(new Uint8Array(graph.data(tensor)).every((byte) => byte === 7)).toBe(true);
    using small = backend.allocate(128);
    expect(() => graph.setData(tensor, small, 256)).toThrow(invalid);
    from[Symbol.dispose]();
    expect(() => graph.setData(tensor, from, 256)).toThrow(invalid);
  });

  it('neither reads nor changes a part of what lies in a layout of the kernels', () => {
    const [type] = backend.preferred;
    // Processors without such a layout have nothing to refuse.
    if (!type) {
      expect(backend.preferred).toEqual([]);
      return;
    }
    using graph = new Graph(ggml, 2);
    const tensor = graph.tensor(dtype.Q8_0, shapeOf(256, 64));
    const bytes = 64 * 8 * 34;
    using buffer = backend.allocate(graph.bytesIn(type, tensor), type);
    graph.place(tensor, buffer, 0);
    const uses = [
      () => graph.read(tensor, new Uint8Array(bytes)),
      () => graph.write(tensor, new Uint8Array(34)),
      () => graph.zero(tensor, 0, bytes),
    ];
    for (const use of uses) expect(use).toThrow(invalid);
  });

  it('is not freed while a thread fills or clears it', async () => {
    const bytes = 64 * 2 ** 20;
    using from = backend.allocate(bytes);
    using buffer = backend.allocate(bytes);
    using graph = new Graph(ggml, 2);
    const tensor = graph.tensor(F32, shapeOf(bytes / 4));
    graph.place(tensor, buffer, 0);
    const clearing = buffer.clearAside();
    expect(() => buffer[Symbol.dispose]()).toThrow(invalid);
    await clearing;
    const filling = graph.setData(tensor, from, bytes);
    for (const each of [from, buffer, graph]) expect(() => each[Symbol.dispose]()).toThrow(invalid);
    await filling;
  });

  it('shows no tensor whose rows are elsewhere', () => {
    using buffer = backend.allocate(1024);
    using graph = new Graph(ggml, 8);
    const tensor = graph.tensor(F32, shapeOf(4, 4, 4));
    graph.place(tensor, buffer, 0);
    expect(() => graph.data(graph.swapRowsAndMatrices(tensor))).toThrow(invalid);
  });

  it('refuses all use after it is disposed, which may be done twice', () => {
    using buffer = backend.allocate(512);
    const graph = new Graph(ggml, 8);
    const tensor = graph.tensor(F32, shape);
    graph[Symbol.dispose]();
    graph[Symbol.dispose]();
    const uses = [
      () => graph.tensor(F32, shape),
      () => graph.add(tensor, tensor),
      () => graph.expand(tensor),
      () => graph.keep(tensor),
      () => graph.data(tensor),
      () => graph.place(tensor, buffer, 0),
      () => graph.setData(tensor, buffer, 256),
      () => graph.bytesIn(buffer.type, tensor),
      () => graph.unsupported((node) => backend.supports(node)),
      () => graph.write(tensor, new Uint8Array(4)),
      () => graph.read(tensor, new Uint8Array(4)),
      () => graph.zero(tensor, 0, 4),
      () => backend.compute(graph),
    ];
    for (const use of uses) expect(use).toThrow(invalid);
  });
});
