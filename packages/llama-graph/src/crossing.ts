import {
  dtype,
  shapeOf,
  type CloningGraph,
  type ImportedTensor,
  type Shape,
  type Tensor,
} from '@butterfly/ggml';
import { cacheLayer, type WholeGraph } from './cut.js';
import { rootOf } from './leaves.js';
import { isPacked } from './packed.js';
import { refuse } from './refusal.js';

/** One of the tensors that cross a cut, of which each row has its numbers in one piece of a row of activations. */
export interface CrossingPart {
  /** Of the node in the graph. */
  readonly position: number;
  /** Which dimension counts rows: the last one with more than one element, or the second of three. */
  readonly dimension: 1 | 2;
  /** F32 numbers of each row. */
  readonly width: number;
}

/**
 * How the tensors that cross a cut lie side by side in activations; null where one of them is none of numbers by rows, but
 * what is cached for example.
 * @param rows of the graph, unlike any dimension of the model.
 */
export function crossingParts(
  graph: WholeGraph,
  positions: readonly number[],
  rows: number,
): CrossingPart[] | null {
  const parts: CrossingPart[] = [];
  for (const position of positions) {
    const node = graph.nodes[position];
    const dimension = node ? dimensionOfRows(node, rows) : null;
    if (!node || dimension === null || cacheLayer(rootOf(graph, node)) !== null) return null;
    const elements = node.shape.reduce((product, size) => product * size, 1);
    parts.push({ position, dimension, width: elements / rows });
  }
  return parts;
}

/** Numbers of each row that cross a cut. */
export function widthOf(parts: readonly CrossingPart[]): number {
  return parts.reduce((sum, { width }) => sum + width, 0);
}

function dimensionOfRows({ type, shape }: ImportedTensor, rows: number): 1 | 2 | null {
  const counting = [0, 1, 2, 3].filter((dimension) => shape[dimension] === rows);
  const [dimension] = counting;
  if (type !== dtype.F32 || counting.length !== 1 || shape[3] !== 1) return null;
  return dimension === 1 || dimension === 2 ? dimension : null;
}

/** Puts the tensors that cross side by side: F32 [width, rows]. */
export function packCrossing(
  graph: CloningGraph,
  tensors: readonly { readonly tensor: Tensor; readonly part: CrossingPart }[],
  rows: number,
): Tensor {
  const packed = tensors.map(({ tensor, part: { dimension, width } }) => {
    const isPlane = dimension === 2 || tensor.shape[2] === 1;
    const byRows = isPlane ? tensor : graph.swapRowsAndMatrices(tensor);
    return isPlane && isPacked(tensor)
      ? asPlane(graph, tensor, width, rows)
      : graph.packed(byRows, width, rows);
  });
  const [first, ...others] = packed;
  if (!first) throw refuse('hands nothing on');
  return others.reduce((joined, each) => graph.concat(joined, each, 0), first);
}

/**
 * What stands for each of the tensors that cross, in its own shape and in one piece, as whatever views them expects.
 * @param source F32 [width, rows], as `packCrossing` made it.
 * @param shapeAt gives the shape of the node at a position.
 */
export function unpackCrossing(
  graph: CloningGraph,
  source: Tensor,
  parts: readonly CrossingPart[],
  shapeAt: (position: number) => Shape,
): Map<number, Tensor> {
  const made = new Map<number, Tensor>();
  const [all, rows] = source.shape;
  const [, rowBytes, planeBytes] = source.strides;
  let offset = 0;
  for (const { position, dimension, width } of parts) {
    const shape = shapeAt(position);
    const isPlane = dimension === 2 || shape[2] === 1;
    const own = (): Tensor => {
      if (!isPlane) {
        const matrices = graph.view(
          source,
          shapeOf(shape[0], shape[2], rows),
          [4 * shape[0], rowBytes, planeBytes],
          offset,
        );
        return graph.packed(graph.swapRowsAndMatrices(matrices), width, rows);
      }
      if (width === all) return source;
      const outer = [rowBytes, planeBytes, planeBytes] as const;
      return graph.packed(graph.view(source, shapeOf(width, rows), outer, offset), width, rows);
    };
    const plane = own();
    // Of one row, several dimensions look like a single one.
    const isShaped = plane.shape.every((size, i) => size === shape[i]);
    made.set(position, isShaped ? plane : graph.reshape(plane, shape));
    offset += 4 * width;
  }
  return made;
}

function asPlane(graph: CloningGraph, tensor: Tensor, width: number, rows: number): Tensor {
  return tensor.shape[0] === width && tensor.shape[1] === rows
    ? tensor
    : graph.reshape(tensor, shapeOf(width, rows));
}
