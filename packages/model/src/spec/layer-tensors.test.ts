import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { describeFamilyModel } from './describe.js';
import { openGguf } from '../gguf/gguf-file.js';
import {
  inputBytes,
  layerBytes,
  operationsPerToken,
  outputBytes,
  parameterCount,
  quantisation,
  shardTensors,
} from './layer-tensors.js';
import type { ModelSpec } from './spec.js';

let tied: ModelSpec;
let untied: ModelSpec;
beforeAll(async () => {
  const describe = async (changes: object): Promise<ModelSpec> =>
    describeFamilyModel(await openGguf(await cachedSyntheticModel({ ...tinyModel, ...changes })));
  tied = await describe({ layers: 7 });
  untied = await describe({ layers: 7, tiedEmbeddings: false, ropeFactors: true });
});

const names = (spec: ModelSpec, start: number, end: number): string[] =>
  shardTensors(spec, start, end).map(({ name }) => name);

it('gives each end of the pipeline what it needs', () => {
  const own = (spec: ModelSpec, start: number, end: number): string[] =>
    names(spec, start, end).filter((name) => !name.startsWith('blk.'));
  expect(own(tied, 0, 3)).toEqual(['token_embd.weight']);
  expect(own(tied, 3, 5)).toEqual([]);
  expect(own(tied, 5, 7)).toEqual(['token_embd.weight', 'output_norm.weight']);
  expect(own(tied, 0, 7)).toEqual(['token_embd.weight', 'output_norm.weight']);
  expect(own(untied, 0, 3)).toEqual(['token_embd.weight', 'rope_freqs.weight']);
  expect(own(untied, 3, 5)).toEqual(['rope_freqs.weight']);
  expect(own(untied, 5, 7)).toEqual(['output_norm.weight', 'output.weight', 'rope_freqs.weight']);
});

it('covers every tensor of every layer once, however the layers are cut', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('tied', 'untied'),
      fc.uniqueArray(fc.integer({ min: 1, max: 6 })),
      (which, cuts) => {
        const spec = which === 'tied' ? tied : untied;
        const bounds = [0, ...cuts.sort((a, b) => a - b), spec.layers];
        const shards = bounds.slice(1).map((end, index) => shardTensors(spec, bounds[index] ?? 0, end));
        const ofLayers = shards.flat().filter(({ name }) => name.startsWith('blk.'));
        expect(ofLayers).toEqual(spec.tensors.filter(({ name }) => name.startsWith('blk.')));
        expect(new Set(shards.flat())).toEqual(new Set(spec.tensors));
        const bytes = ofLayers.reduce((sum, tensor) => sum + tensor.bytes, 0);
        expect(layerBytes(spec).reduce((sum, layer) => sum + layer, 0)).toBe(bytes);
      },
    ),
  );
});

it.each([
  [0, 0],
  [3, 2],
  [-1, 2],
  [0, 8],
  [0.5, 2],
])('refuses the range %d to %d', (start, end) => {
  expect(() => shardTensors(tied, start, end)).toThrow(expect.objectContaining({ code: 'COMPUTE_INVALID' }));
});

it('counts bytes, operations and weights', () => {
  const embedding = 300 * 34;
  expect(inputBytes(tied)).toBe(embedding);
  expect(outputBytes(tied)).toBe(embedding + 32 * 4);
  const weightsOfLayer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64;
  expect(layerBytes(tied)).toEqual(Array.from({ length: 7 }, () => (weightsOfLayer / 32) * 34 + 2 * 32 * 4));
  expect(operationsPerToken(tied)).toEqual({ layer: 2 * weightsOfLayer, output: 2 * 300 * 32 });
  expect(parameterCount(tied)).toBe(300 * 32 + 7 * (weightsOfLayer + 64) + 32);
  expect(parameterCount(untied)).toBe(parameterCount(tied) + 300 * 32 + 8);
  expect(quantisation(tied)).toEqual([
    { typeName: 'Q8_0', tensors: 1 + 7 * 7, bytes: embedding + 7 * (weightsOfLayer / 32) * 34 },
    { typeName: 'F32', tensors: 15, bytes: (7 * 64 + 32) * 4 },
  ]);
});
