import type { SyntheticModelOptions } from './shape.js';

/** The smallest model that is a whole one: some 40 kB. */
export const tinyModel: SyntheticModelOptions = {
  architecture: 'llama',
  layers: 3,
  hidden: 32,
  heads: 2,
  kvHeads: 1,
  headSize: 16,
  feedForward: 64,
  vocabulary: 300,
  tiedEmbeddings: true,
  type: 'Q8_0',
  seed: 1,
  contextTrained: 64,
};
