import { expect, it } from 'vitest';
import { dtype } from '../graph/dtype.js';
import { Graph } from '../graph/graph.js';
import { shapeOf } from '../graph/tensor.js';
import { computeInvalid, ggml } from '../testing/graphs.js';
import { CloningGraph } from './cloning-graph.js';
import { tensorStruct, type ImportedTensor } from './tensor-struct.js';

/** `GGML_OP_ADD`: any operation that has results will do, as nothing is computed. */
const opCode = 2;

// Where ggml has no room for what a graph reads, it ends the process.
it('refuses operations that read more than it has room for', () => {
  using other = new Graph(ggml, 2 * tensorStruct.sourcesMax);
  const weights = Array.from({ length: 2 * tensorStruct.sourcesMax }, () =>
    other.tensor(dtype.F32, shapeOf(4)),
  );
  const original: ImportedTensor = {
    pointer: 0n,
    op: 'ADD',
    opCode,
    type: dtype.F32,
    shape: shapeOf(4),
    strides: [4, 16, 16, 16],
    flags: 0,
    sources: weights.slice(0, tensorStruct.sourcesMax).map(({ pointer }) => pointer),
    viewOf: null,
    viewOffset: 0,
    name: '',
    params: new Uint8Array(tensorStruct.paramsBytes),
  };
  // Each of them reads six more than operations of ours.
  using graph = new CloningGraph(ggml, 12);
  const clone = (first: number): void =>
    graph.expand(graph.clone(original, weights.slice(first, first + tensorStruct.sourcesMax), null));
  clone(0);
  clone(tensorStruct.sourcesMax);
  expect(graph.size).toEqual({ nodes: 2, leaves: weights.length });
  expect(() => clone(0)).toThrow(expect.objectContaining(computeInvalid) as Error);
});
