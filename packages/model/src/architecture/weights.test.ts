import type { Tensor } from '@butterfly/ggml';
import { describe, expect, it } from 'vitest';
import { arrangeWeights, weightUse, type WeightSlot } from './weights.js';

const required = [
  'attn_norm.weight',
  'attn_q.weight',
  'attn_k.weight',
  'attn_v.weight',
  'attn_output.weight',
  'ffn_norm.weight',
  'ffn_gate.weight',
  'ffn_up.weight',
  'ffn_down.weight',
];
const optional = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'].map(
  (n) => `${n}.bias`,
);
const headNorms = ['attn_q_norm.weight', 'attn_k_norm.weight'];
const ends = ['token_embd.weight', 'output_norm.weight', 'output.weight', 'rope_freqs.weight'];
const layers = 3;
const inLayers = (names: readonly string[]): string[] =>
  Array.from({ length: layers }, (_, layer) => names.map((name) => `blk.${layer}.${name}`)).flat();

/** A model of these tensors; finds them by name and use, and remembers what it was asked for. */
class Model {
  readonly asked: WeightSlot[] = [];
  readonly #names: readonly string[];

  constructor(names: readonly string[]) {
    this.#names = names;
  }

  readonly find = (slot: WeightSlot): Tensor | null => {
    this.asked.push(slot);
    const index = this.#names.indexOf(slot.name);
    // Tied embeddings are two tensors of one name.
    const pointer = BigInt(index * 2 + (slot.use === 'lookup' ? 1 : 0));
    return index === -1 ? null : { pointer, type: 0, shape: [1, 1, 1, 1], strides: [4, 4, 4, 4] };
  };

  pointer(name: string, use: WeightSlot['use'] = 'matmul'): bigint | undefined {
    return this.find({ name, use })?.pointer;
  }
}

const whole = { layerStart: 0, layerEnd: layers, layers, tied: false };
const full = [...inLayers([...required, ...optional, ...headNorms]), ...ends];

describe('weightUse', () => {
  it.each([
    ['blk.0.attn_norm.weight', 'elementwise'],
    ['blk.11.attn_q_norm.weight', 'elementwise'],
    ['blk.2.ffn_up.bias', 'elementwise'],
    ['output_norm.weight', 'elementwise'],
    ['rope_freqs.weight', 'elementwise'],
    ['blk.0.attn_q.weight', 'matmul'],
    ['blk.0.ffn_down.weight', 'matmul'],
    ['output.weight', 'matmul'],
    ['token_embd.weight', 'matmul'],
  ])('of %s is %s', (name, use) => {
    expect(weightUse(name)).toBe(use);
  });
});

describe('arrangeWeights', () => {
  it('puts every tensor in its place', () => {
    const model = new Model(full);
    const { embedding, ropeFactors, layers: arranged, head } = arrangeWeights(whole, model.find);
    expect(embedding?.pointer).toBe(model.pointer('token_embd.weight', 'lookup'));
    expect(ropeFactors?.pointer).toBe(model.pointer('rope_freqs.weight'));
    expect(head?.norm.pointer).toBe(model.pointer('output_norm.weight'));
    expect(head?.output.pointer).toBe(model.pointer('output.weight'));
    expect(arranged).toHaveLength(layers);
    for (const [i, layer] of arranged.entries()) {
      const at = (name: string): bigint | undefined => model.pointer(`blk.${i}.${name}`);
      expect(
        Object.fromEntries(
          Object.entries(layer).map(([role, tensor]: [string, Tensor | null]) => [role, tensor?.pointer]),
        ),
      ).toEqual({
        attentionNorm: at('attn_norm.weight'),
        query: at('attn_q.weight'),
        queryBias: at('attn_q.bias'),
        queryNorm: at('attn_q_norm.weight'),
        key: at('attn_k.weight'),
        keyBias: at('attn_k.bias'),
        keyNorm: at('attn_k_norm.weight'),
        value: at('attn_v.weight'),
        valueBias: at('attn_v.bias'),
        attentionOutput: at('attn_output.weight'),
        attentionOutputBias: at('attn_output.bias'),
        feedForwardNorm: at('ffn_norm.weight'),
        gate: at('ffn_gate.weight'),
        gateBias: at('ffn_gate.bias'),
        up: at('ffn_up.weight'),
        upBias: at('ffn_up.bias'),
        down: at('ffn_down.weight'),
        downBias: at('ffn_down.bias'),
      });
    }
  });

  it('asks for each tensor with the use that fits it', () => {
    const model = new Model(full);
    arrangeWeights(whole, model.find);
    const wrong = model.asked.filter(
      ({ name, use }) => name !== 'token_embd.weight' && use !== weightUse(name),
    );
    expect(wrong).toEqual([]);
  });

  it('does without optional tensors', () => {
    const model = new Model([
      ...inLayers(required),
      'token_embd.weight',
      'output_norm.weight',
      'output.weight',
    ]);
    const { ropeFactors, layers: arranged } = arrangeWeights(whole, model.find);
    expect(ropeFactors).toBeNull();
    for (const { queryBias, queryNorm, keyNorm, downBias } of arranged)
      expect([queryBias, queryNorm, keyNorm, downBias]).toEqual([null, null, null, null]);
  });

  it('multiplies by the embedding where it is tied, as a tensor of its own', () => {
    const model = new Model(full.filter((name) => name !== 'output.weight'));
    const { embedding, head } = arrangeWeights({ ...whole, tied: true }, model.find);
    expect(head?.output.pointer).toBe(model.pointer('token_embd.weight', 'matmul'));
    expect(embedding?.pointer).toBe(model.pointer('token_embd.weight', 'lookup'));
  });

  it('gives the ends to the stages at the ends, and the rope factors to all', () => {
    const stage = (layerStart: number, layerEnd: number): string => {
      const weights = arrangeWeights({ layerStart, layerEnd, layers, tied: false }, new Model(full).find);
      const parts = [weights.embedding && 'embedding', weights.head && 'head', weights.ropeFactors && 'rope'];
      return [...parts.filter(Boolean), weights.layers.length].join(' ');
    };
    expect([stage(0, 1), stage(1, 2), stage(2, 3), stage(0, 3)]).toEqual([
      'embedding rope 1',
      'rope 1',
      'head rope 1',
      'embedding head rope 3',
    ]);
  });

  it('asks for nothing of layers that the stage does not hold', () => {
    const model = new Model(full);
    arrangeWeights({ layerStart: 1, layerEnd: 2, layers, tied: false }, model.find);
    expect(model.asked.every(({ name }) => name.startsWith('blk.1.') || name === 'rope_freqs.weight')).toBe(
      true,
    );
  });

  it.each([
    ...required.map((name) => `blk.1.${name}`),
    'output_norm.weight',
    'output.weight',
    'token_embd.weight',
  ])('says that a model lacks %s', (missing) => {
    const model = new Model(full.filter((name) => name !== missing));
    expect(() => arrangeWeights(whole, model.find)).toThrow(
      expect.objectContaining({ code: 'MODEL_CORRUPT', message: expect.stringContaining(missing) as string }),
    );
  });
});
