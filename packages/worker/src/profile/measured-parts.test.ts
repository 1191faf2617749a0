import fc from 'fast-check';
import { type ModelSpec, type ModelTensor, canCutAt } from '@butterfly/model';
import { describeFile, smallModel } from '@butterfly/stage/testing';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { measuredParts, trimmed } from './measured-parts.js';

const plenty = 2 ** 36;
const mib = 2 ** 20;
let small: ModelSpec;
beforeAll(async () => {
  small = await describeFile(await cachedSyntheticModel(smallModel));
});

/** An imported model of layers of such sizes, one tensor each. */
function withLayers(sizes: readonly number[]): ModelSpec {
  const [attention = null] = small.attention;
  const tensors = sizes.map((bytes, layer): ModelTensor => ({
    name: `blk.${layer}.ffn_up.weight`,
    type: 0,
    typeName: 'F32',
    shape: [bytes],
    fileIndex: 0,
    offset: 0,
    bytes,
  }));
  return {
    ...small,
    layers: sizes.length,
    crossings: sizes.slice(1).map(() => 8),
    attention: sizes.map(() => attention),
    sharedTensors: {},
    tensors,
    graph: {
      kind: 'imported',
      metadata: '',
      metadataKeys: 1,
      contextTokens: 128,
      states: [],
      stateSlots: 0,
      windows: null,
      experts: null,
      temperature: null,
      head: null,
    },
  };
}

const runsOf = (sizes: readonly number[], memoryBytes = plenty): (readonly (readonly number[])[])[] =>
  measuredParts({ spec: withLayers(sizes), memoryBytes }).kinds.map(({ runs }) => runs);

describe('measuredParts', () => {
  it('takes all layers of a small model, as many as exceed caches of a large one, and what fits of any', () => {
    const layersOf = (spec: ModelSpec, memoryBytes: number): number =>
      measuredParts({ spec, memoryBytes }).kinds.flatMap(({ runs }) => runs.flat()).length;
    expect(measuredParts({ spec: small, memoryBytes: plenty })).toEqual({
      kinds: [{ layer: 0, runs: [[0, 1, 2]], timeShare: 1 }],
      hasOutput: true,
    });
    const large = { ...small, tensors: small.tensors.map((tensor) => ({ ...tensor, bytes: 100 * mib })) };
    expect(layersOf(large, plenty)).toBe(1);
    expect(measuredParts({ spec: large, memoryBytes: mib })).toEqual({ kinds: [], hasOutput: false });
    let layers = 0;
    for (let memoryBytes = 128 * mib; memoryBytes < 1024 * mib; memoryBytes += mib) {
      const count = layersOf(small, memoryBytes);
      expect(count).toBeGreaterThanOrEqual(layers);
      layers = count;
    }
    expect(layers).toBe(small.layers);
  });

  it('takes the middle of the longest runs, and leaves out the ends of the model', () => {
    const [a, b] = [100 * mib, 60 * mib];
    // Half of 256 MiB for each kind: two layers, or three.
    expect(runsOf([a, a, a, a, a, a, b, b, a, b, b, b])).toEqual([[[2, 3]], [[6, 7], [9]]]);
  });

  it('gives more time to the kind that more is read of', () => {
    const [a, b] = [100 * mib, 50 * mib];
    const { kinds } = measuredParts({ spec: withLayers([b, a, a, a, a]), memoryBytes: plenty });
    expect(kinds.map(({ timeShare }) => timeShare)).toEqual([(1 / 2 + 8 / 9) / 2, (1 / 2 + 1 / 9) / 2]);
  });

  it('takes layers that stand alone together, as if they were a stage', () => {
    const [a, b] = [100 * mib, 50 * mib];
    expect(runsOf([a, a, b, a, a, b, a, a, b, a, a])).toEqual([[[3, 4]], [[2], [5], [8]]]);
  });

  it('measures the first layer where no other is like it, and does not measure a last one', () => {
    const [a, b] = [100 * mib, 50 * mib];
    expect(runsOf([b, a, a, a, a])).toEqual([[[1, 2]], [[0]]]);
    expect(runsOf([a, a, a, a, b])).toEqual([[[1, 2]]]);
    expect(runsOf([a])).toEqual([[[0]]]);
  });

  it('loads for other kinds no more than for the first, and nothing for what hardly counts', () => {
    const [large, other, tiny] = [2000 * mib, 1500 * mib, mib];
    const sizes = [large, large, large, large, tiny, tiny, other, other, other, large - mib, large];
    expect(runsOf(sizes)).toEqual([[[2]], [[7]]]);
  });

  it('measures what fits, where the first does not', () => {
    const [large, little] = [2000 * mib, 700 * mib];
    expect(runsOf([large, large, large, little, little, large], 2900 * mib)).toEqual([[[3]]]);
    expect(runsOf([large, large, large, little, little, large], 600 * mib)).toEqual([]);
  });
});

const partedBy = (crossings: readonly (number | null)[]) => ({
  layers: crossings.length + 1,
  crossings: [...crossings],
});

describe('trimmed', () => {
  it('leaves out layers at the ends that cannot be parted from others', () => {
    const model = partedBy([8, 8, null, 8, null, null, 8]);
    expect(trimmed(model, [1, 2, 3, 4])).toEqual([1, 2, 3]);
    expect(trimmed(model, [3, 4, 5, 6])).toEqual([4, 5, 6]);
    expect(trimmed(model, [4, 5])).toEqual([]);
    expect(trimmed(model, [0, 1])).toEqual([0, 1]);
  });

  it('is nothing, or what can be a stage', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(8, null), { maxLength: 12 }),
        fc.nat(12),
        fc.nat(12),
        (crossings, a, b) => {
          const model = partedBy(crossings);
          const run = Array.from({ length: model.layers }, (_, layer) => layer).slice(a, a + b);
          const taken = trimmed(model, run);
          if (taken.length === 0) return;
          const [first = 0] = taken;
          expect([canCutAt(model, first), canCutAt(model, first + taken.length)]).toEqual([true, true]);
          expect(run).toEqual(expect.arrayContaining(taken));
        },
      ),
    );
  });
});
