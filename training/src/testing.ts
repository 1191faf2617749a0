import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Recipe } from './recipe.js';

/** The smallest recipe that is a whole one: seconds, not an hour. */
export const tinyRecipe: Recipe = {
  shape: {
    layers: 2,
    hidden: 64,
    heads: 2,
    feedForward: 96,
    vocabulary: 400,
    context: 256,
    normEpsilon: 1e-5,
    ropeBase: 10_000,
  },
  seed: 1,
  tokenizerDocuments: 200,
  windows: 2,
  steps: 4,
  warmUpSteps: 2,
  cosineSteps: 6,
  coolDownStep: 3,
  learningRateMax: 3e-3,
  learningRateMin: 1e-4,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0.05,
  heldOutWindows: 2,
  heldOutEverySteps: 4,
  checkpointEverySteps: 2,
};

/** An empty folder, removed at the end. */
export async function temporaryFolder(): Promise<AsyncDisposable & { path: (name: string) => string }> {
  const folder = await mkdtemp(join(tmpdir(), 'butterfly-training-'));
  return {
    path: (name) => join(folder, name),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
