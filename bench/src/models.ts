import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cachedSyntheticModel } from '@butterfly/testkit';

/** The shape of Llama-3.2-1B with a smaller vocabulary and random weights, in Q4_0: made once (622 MB) and cached. */
export function oneBillion(): Promise<string> {
  return cachedSyntheticModel(
    {
      architecture: 'llama',
      layers: 16,
      hidden: 2048,
      heads: 32,
      kvHeads: 8,
      headSize: 64,
      feedForward: 8192,
      vocabulary: 32_000,
      tiedEmbeddings: false,
      type: 'Q4_0',
      seed: 1,
      contextTrained: 4096,
    },
    join(tmpdir(), 'butterfly-synthetic'),
  );
}

/** Wide activations and little arithmetic, so that what passes between the stages weighs most; Q8_0, 37 MB. */
export function lightModel(): Promise<string> {
  return cachedSyntheticModel(
    {
      architecture: 'llama',
      layers: 9,
      hidden: 1024,
      heads: 16,
      kvHeads: 4,
      headSize: 64,
      feedForward: 1024,
      vocabulary: 10_000,
      tiedEmbeddings: false,
      type: 'Q8_0',
      seed: 7,
      contextTrained: 512,
    },
    join(tmpdir(), 'butterfly-synthetic'),
  );
}

/** Token ids from the middle of the vocabulary, the same for both sides. */
export function promptOf(length: number): number[] {
  return Array.from({ length }, (_, i) => 300 + ((i * 7919) % 9_000));
}
