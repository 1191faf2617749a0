import { ensure } from '@butterfly/common';
import type { Ggml } from '../library/library.js';
import { Graph } from './graph.js';
import { shapeOf, type Tensor } from './tensor.js';

/** Rows of one tensor that are copied to other rows of it. */
export interface RowMove {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
}

/** What goes through the host at once where both ranges overlap. */
const bounceBytes = 16 * 2 ** 20;

/**
 * Copies rows within a tensor [width, rows] that has memory on any device, as if all were read before any is written;
 * waits until done. `owner` is the graph that placed the tensor.
 * @throws ButterflyError COMPUTE_INVALID for rows beyond its own
 */
export function moveRows(ggml: Ggml, owner: Graph, tensor: Tensor, move: RowMove): void {
  const { from, to, rows } = move;
  const last = tensor.shape[1] - rows;
  ensure(
    rows >= 0 && from >= 0 && to >= 0 && from <= last && to <= last,
    () => `${rows} rows from ${from} to ${to} are not inside ${tensor.shape[1]}.`,
  );
  if (rows === 0 || from === to) return;
  if (Math.abs(to - from) < rows) bounce(owner, tensor, move);
  else copyOnDevice(ggml, tensor, move);
}

function copyOnDevice(ggml: Ggml, tensor: Tensor, { from, to, rows }: RowMove): void {
  using graph = new Graph(ggml, 2);
  const [, row, matrix, all] = tensor.strides;
  const part = (first: number): Tensor => {
    const view = graph.view(tensor, shapeOf(tensor.shape[0], rows), [row, matrix, all], first * row);
    ggml.base.ggml_backend_view_init(view.pointer);
    return view;
  };
  ggml.base.ggml_backend_tensor_copy(part(from).pointer, part(to).pointer);
}

/** In the order in which no row is overwritten before it is read. */
function bounce(owner: Graph, tensor: Tensor, { from, to, rows }: RowMove): void {
  const row = tensor.strides[1];
  const atOnce = Math.max(1, Math.min(rows, Math.floor(bounceBytes / row)));
  const buffer = new Uint8Array(atOnce * row);
  for (let done = 0; done < rows; done += atOnce) {
    const count = Math.min(atOnce, rows - done);
    const first = to < from ? done : rows - done - count;
    const bytes = buffer.subarray(0, count * row);
    owner.read(tensor, bytes, (from + first) * row);
    owner.write(tensor, bytes, (to + first) * row);
  }
}
