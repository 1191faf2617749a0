import { ButterflyError } from '@butterfly/common';

/** Says what of a model's graph cannot be computed in parts, so that nobody gets a wrong number. */
export function refuse(what: string): ButterflyError {
  return new ButterflyError(
    'MODEL_UNSUPPORTED',
    `The graph that llama.cpp builds of this model ${what}, which Butterfly does not support yet. Use another model.`,
  );
}
