import { ButterflyError } from '@butterfly/common';
import { dtype, type Shape } from '@butterfly/ggml';

/** Says what of a model's graph cannot be computed in parts, so that nobody gets a wrong number. */
export function refuse(what: string): ButterflyError {
  return new ButterflyError(
    'MODEL_UNSUPPORTED',
    `The graph that llama.cpp builds of this model ${what}, which Butterfly does not support yet. Use another model.`,
  );
}

/**
 * Compares a weight of a file with what the graph reads: libllama builds graphs from metadata alone and does not look at
 * the shapes in the header, and an operation over a smaller tensor would read what is not its own.
 * @throws ButterflyError MODEL_CORRUPT
 */
export function checkShape(
  { name, shape }: { readonly name: string; readonly shape: readonly number[] },
  expected: Readonly<Shape>,
): void {
  if (expected.every((size, i) => size === (shape[i] ?? 1)) && shape.length <= expected.length) return;
  const wanted = expected.slice(0, Math.max(1, expected.findLastIndex((size) => size > 1) + 1));
  throw new ButterflyError(
    'MODEL_CORRUPT',
    `The tensor ${name} is [${shape.join(', ')}] and not [${wanted.join(', ')}], as the metadata of the model want it. Download or convert the model again.`,
  );
}

/**
 * Refuses a weight of few bits where ggml computes with F32 only, since it ends the process then.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function checkPlain(weight: {
  readonly name: string;
  readonly type: number;
  readonly typeName: string;
}): void {
  if (weight.type === dtype.F32) return;
  throw new ButterflyError(
    'MODEL_UNSUPPORTED',
    `The tensor ${weight.name} is of type ${weight.typeName}, where its graph can use F32 only. Convert or quantize the model again.`,
  );
}
