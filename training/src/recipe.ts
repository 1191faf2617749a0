import type { ModelShape } from './shape.js';

/** Everything that decides the model, besides the text's grammar: the same recipe gives the same file. */
export interface Recipe {
  readonly shape: ModelShape;
  readonly seed: number;
  /** Documents that the tokenizer learns its pieces from. */
  readonly tokenizerDocuments: number;
  /** Windows that one step learns from. */
  readonly windows: number;
  readonly steps: number;
  readonly warmUpSteps: number;
  /** Steps that the learning rate's cosine is laid out for. */
  readonly cosineSteps: number;
  /** The step from which the rate goes down in a line instead, to its minimum at the last step. */
  readonly coolDownStep: number;
  readonly learningRateMax: number;
  readonly learningRateMin: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Held-out windows that the loss is measured on now and then. */
  readonly heldOutWindows: number;
  readonly heldOutEverySteps: number;
  readonly checkpointEverySteps: number;
}

export const recipe: Recipe = {
  shape: {
    layers: 8,
    hidden: 128,
    heads: 4,
    feedForward: 320,
    vocabulary: 1280,
    context: 256,
    normEpsilon: 1e-5,
    ropeBase: 10_000,
  },
  seed: 1,
  tokenizerDocuments: 20_000,
  windows: 8,
  steps: 1800,
  warmUpSteps: 150,
  cosineSteps: 2400,
  coolDownStep: 1200,
  learningRateMax: 2.5e-3,
  learningRateMin: 1e-4,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0.05,
  heldOutWindows: 32,
  heldOutEverySteps: 100,
  checkpointEverySteps: 50,
};

/** Warm-up in a line, then down along half a cosine, at last down in a line; steps count from 1. */
export function learningRate(step: number, of: Recipe): number {
  const { warmUpSteps, coolDownStep, learningRateMax, learningRateMin } = of;
  if (step <= warmUpSteps) return (learningRateMax * step) / warmUpSteps;
  const spread = learningRateMax - learningRateMin;
  const done = (Math.min(step, coolDownStep) - warmUpSteps) / (of.cosineSteps - warmUpSteps);
  const cosine = (1 + Math.cos(Math.PI * done)) / 2;
  const left = step <= coolDownStep ? 1 : (of.steps - step) / (of.steps - coolDownStep);
  return learningRateMin + spread * cosine * left;
}
