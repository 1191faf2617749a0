import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeFamilyModel, openGguf } from '@butterfly/model';
import {
  type SyntheticModelOptions,
  cachedArchitectureModel,
  cachedSyntheticModel,
} from '@butterfly/testkit';
import { hybridCircles } from './imported/shapes.js';

export interface BenchModel {
  readonly name: string;
  readonly path: string;
}

type ModelChanges = Partial<Pick<SyntheticModelOptions, 'circleTokens'>>;

/** The small trained model that ships with Butterfly. */
export const ownModel = fileURLToPath(
  new URL('../../packages/butterfly/models/butterfly-stories.gguf', import.meta.url),
);

/** The shape of Llama-3.2-1B with a smaller vocabulary and random weights, in Q4_0: made once (622 MB) and cached. */
export function oneBillion(changes: ModelChanges = {}): Promise<string> {
  return cached({
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
    ...changes,
  });
}

/** The shape of Qwen2.5-0.5B with a smaller vocabulary and random weights, in Q4_0: made once (234 MB) and cached. */
export function halfBillion(changes: ModelChanges = {}): Promise<string> {
  return cached({
    architecture: 'llama',
    layers: 24,
    hidden: 896,
    heads: 14,
    kvHeads: 2,
    headSize: 64,
    feedForward: 4864,
    vocabulary: 32_000,
    tiedEmbeddings: false,
    type: 'Q4_0',
    seed: 2,
    contextTrained: 4096,
    ...changes,
  });
}

/** The shape of Qwen3.5-0.8B with a smaller vocabulary, in Q4_0: made once and cached. */
export function hybridModel(circleTokens: number): Promise<string> {
  return cachedArchitectureModel(hybridCircles(circleTokens), 'Q4_0', join(tmpdir(), 'butterfly-synthetic'));
}

/** Wide activations and little arithmetic, so that what passes between the stages weighs most; Q8_0, 37 MB. */
export function lightModel(): Promise<string> {
  return cached({
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
  });
}

/** The file that was asked for, or both shapes. */
export async function benchModels(path: string | null): Promise<BenchModel[]> {
  if (path !== null) return [{ name: basename(path), path }];
  return [
    { name: '1B shape, Q4_0', path: await oneBillion() },
    { name: '0.5B shape, Q4_0', path: await halfBillion() },
  ];
}

/** The file that was asked for, or the 1B shape. */
export async function benchModel(path: string | null): Promise<BenchModel> {
  return path === null
    ? { name: '1B shape, Q4_0', path: await oneBillion() }
    : { name: basename(path), path };
}

/** How many tokens the model knows. */
export async function vocabularyOf(path: string): Promise<number> {
  return describeFamilyModel(await openGguf(path)).vocabulary;
}

/** Token ids from the middle of the vocabulary, the same for both sides. */
export function promptOf(length: number): number[] {
  return Array.from({ length }, (_, i) => 300 + ((i * 7919) % 9_000));
}

function cached(options: SyntheticModelOptions): Promise<string> {
  return cachedSyntheticModel(options, join(tmpdir(), 'butterfly-synthetic'));
}
