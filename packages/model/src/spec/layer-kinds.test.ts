import { limits } from '@butterfly/common';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { openGguf } from '../gguf/gguf-file.js';
import { describeFamilyModel } from './describe.js';
import { activeBytes, kindOfLayers, layerKinds, readBytes } from './layer-kinds.js';
import { activeParameterCount, layerBytes, parameterCount } from './layer-tensors.js';
import { countedLayers, layerWords } from './layer-words.js';
import type { ModelSpec, ModelTensor } from './spec.js';

let plain: ModelSpec;
beforeAll(async () => {
  plain = describeFamilyModel(await openGguf(await cachedSyntheticModel({ ...tinyModel, layers: 7 })));
});

/** The layers from 2 on with 8 experts in the place of one matrix, of which 2 compute a token; the last one with a state. */
function unlike(): ModelSpec {
  const tensors = plain.tensors.map((tensor): ModelTensor => {
    const [, layer, name] = /^blk\.(\d+)\.ffn_(\w+)\.weight$/u.exec(tensor.name) ?? [];
    if (Number(layer) < 2 || name === undefined || name === 'norm') return tensor;
    const { shape, bytes } = tensor;
    const expertsName = `blk.${layer}.ffn_${name}_exps.weight`;
    return { ...tensor, name: expertsName, shape: [...shape, 8], bytes: 8 * bytes };
  });
  return {
    ...plain,
    tensors,
    attention: plain.attention.map((attention, layer) => (layer === 6 ? null : attention)),
    graph: {
      kind: 'imported',
      metadata: '',
      metadataKeys: 1,
      contextTokens: 128,
      states: plain.attention.map((_, layer) => (layer === 6 ? [{ name: 's', width: 64 }] : [])),
      stateSlots: 4,
      windows: null,
      experts: { count: 8, used: 2 },
      temperature: null,
      head: null,
    },
  };
}

describe('kinds of layers', () => {
  it('are one where all layers are alike', () => {
    const [kind, ...others] = layerKinds(plain);
    expect(others).toEqual([]);
    expect(kind).toMatchObject({ layers: [0, 1, 2, 3, 4, 5, 6], expertBytes: 0, usedShare: 1 });
    expect(kind?.plainBytes).toBe(layerBytes(plain)[0]);
    expect(countedLayers(layerWords(plain))).toBe('');
  });

  it('are told apart by tensors, attention and states, those first that read most in all', () => {
    const spec = unlike();
    const kinds = layerKinds(spec);
    expect(kinds.map(({ layers }) => layers)).toEqual([[2, 3, 4, 5], [0, 1], [6]]);
    expect(kindOfLayers(kinds)).toEqual([1, 1, 0, 0, 0, 0, 2]);
    expect(countedLayers(layerWords(spec))).toBe(
      '2 dense, attending; 4 with experts, attending; 1 with experts, with state',
    );
  });

  it('are told apart by windows, and by types', () => {
    const windowed = plain.attention.map((attention, layer) =>
      layer % 2 === 0
        ? attention && { ...attention, window: { kind: 'sliding', tokens: 16 } as const }
        : attention,
    );
    const spec = { ...plain, attention: windowed };
    expect(layerKinds(spec).map(({ layers }) => layers.length)).toEqual([4, 3]);
    expect(countedLayers(layerWords(spec))).toBe('4 with a window of 16 tokens, 3 seeing all');
    const typed = plain.tensors.map((tensor) =>
      tensor.name === 'blk.3.attn_v.weight' ? { ...tensor, type: 1 } : tensor,
    );
    expect(layerKinds({ ...plain, tensors: typed })).toHaveLength(2);
  });

  it('count all experts as memory, and as time those that are read', () => {
    const spec = unlike();
    const [experts, dense] = layerKinds(spec);
    if (!experts || !dense) throw new Error('two kinds');
    expect(experts.plainBytes + experts.expertBytes).toBe(layerBytes(spec)[2]);
    expect(activeBytes(experts)).toBe(experts.plainBytes + experts.expertBytes / 4);
    expect(readBytes(experts, 1)).toBe(activeBytes(experts));
    // Of four experts' share two rows choose on average 1 - (3/4)^2.
    expect(readBytes(experts, 2)).toBeCloseTo(experts.plainBytes + (experts.expertBytes * 7) / 16, 6);
    expect(readBytes(experts, 512)).toBeCloseTo(experts.plainBytes + experts.expertBytes, 6);
    expect(readBytes(dense, 512)).toBe(dense.plainBytes);
    const ofExperts = 5 * 3 * 8 * 32 * 64;
    expect(parameterCount(spec) - activeParameterCount(spec)).toBe((ofExperts * 3) / 4);
  });

  it('do not take heads for experts, however many there are', () => {
    const spec = unlike();
    const tensors = spec.tensors.map((tensor) =>
      tensor.name === 'blk.0.attn_k.weight' ? { ...tensor, shape: [8, 8, 8] } : tensor,
    );
    expect(
      layerKinds({ ...spec, tensors }).every(
        ({ layers, usedShare }) => !layers.includes(0) || usedShare === 1,
      ),
    ).toBe(true);
  });

  it('are bounded, cover every layer once, and keep what is read in all', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1e6 }), { minLength: 1, maxLength: 40 }), (sizes) => {
        const shape = plain.tensors.find(({ name }) => name === 'blk.0.attn_q.weight');
        if (!shape) throw new Error('a tensor');
        const spec: ModelSpec = {
          ...plain,
          layers: sizes.length,
          attention: sizes.map(() => null),
          tensors: sizes.map((bytes, layer) => ({ ...shape, name: `blk.${layer}.a`, shape: [bytes], bytes })),
        };
        const kinds = layerKinds(spec);
        expect(kinds.length).toBe(Math.min(limits.layerKindsMax, new Set(sizes).size));
        expect(kinds.flatMap(({ layers }) => layers).sort((a, b) => a - b)).toEqual([...sizes.keys()]);
        const total = kinds.reduce((sum, kind) => sum + kind.layers.length * activeBytes(kind), 0);
        expect(total).toBeCloseTo(
          sizes.reduce((sum, bytes) => sum + bytes, 0),
          3,
        );
      }),
    );
  });
});
