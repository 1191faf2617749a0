import type { Pointer } from '../library/symbols.js';

/** Four dimensions, innermost first, as ggml orders them: [columns, rows, matrices, batches]. */
export type Shape = readonly [number, number, number, number];

/** A tensor of a graph context: a handle and its layout; the data stays in native memory. */
export interface Tensor {
  readonly pointer: Pointer;
  /** `enum ggml_type`. */
  readonly type: number;
  readonly shape: Shape;
  /** Strides in bytes. */
  readonly strides: Shape;
}

export function shapeOf(a: number, b = 1, c = 1, d = 1): Shape {
  return [a, b, c, d];
}

export function elements(shape: Shape): number {
  return shape[0] * shape[1] * shape[2] * shape[3];
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}

/** Whether these are dimensions that a tensor can have. */
export function isShape(shape: Shape): boolean {
  return shape.every((n) => Number.isSafeInteger(n) && n > 0);
}

export function isVector({ shape }: Tensor): boolean {
  return elements(shape) === shape[0];
}

export function isMatrix({ shape }: Tensor): boolean {
  return elements(shape) === shape[0] * shape[1];
}

/** Whether `b` can be broadcast over `a` (ggml_can_repeat). */
export function repeats(b: Shape, a: Shape): boolean {
  return a[0] % b[0] === 0 && a[1] % b[1] === 0 && a[2] % b[2] === 0 && a[3] % b[3] === 0;
}

/** How a tensor reads in an error message. */
export function describe(tensor: Tensor): string {
  return `type ${tensor.type} [${tensor.shape.join(', ')}]`;
}
