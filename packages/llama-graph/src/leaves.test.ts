import { dtype, tensorFlags, type ImportedTensor } from '@butterfly/ggml';
import { describe, expect, it } from 'vitest';
import { type Leaf, leafOf, rootOf, weightUse } from './leaves.js';
import { HandMadeGraph, tensorOf } from './testing/hand-made-graph.js';

const rows = 7;
const weights = new Set(['blk.0.attn_q.weight']);
const leaf = (change: Partial<ImportedTensor>): Leaf =>
  leafOf(tensorOf(change), rows, (name) => weights.has(name));

describe('leafOf', () => {
  it.each<readonly [string, Partial<ImportedTensor>, Leaf]>([
    ['blk.0.attn_q.weight', {}, { kind: 'weight', name: 'blk.0.attn_q.weight' }],
    ['cache_k_l3', {}, { kind: 'cache', layer: 3, part: 'keys' }],
    ['cache_v_l12', {}, { kind: 'cache', layer: 12, part: 'values' }],
    ['inp_tokens', { type: dtype.I32, shape: [rows, 1, 1, 1] }, { kind: 'tokens' }],
    ['inp_pos', { type: dtype.I32, shape: [rows, 1, 1, 1] }, { kind: 'positions', each: 1 }],
    ['inp_pos', { type: dtype.I32, shape: [4 * rows, 1, 1, 1] }, { kind: 'positions', each: 4 }],
    ['out_ids', { type: dtype.I32, shape: [3, 1, 1, 1] }, { kind: 'logitRows' }],
    ['inp_attn_scale', { shape: [1, 1, rows, 1] }, { kind: 'temperature' }],
    ['attn_inp_k_rot', { shape: [64, 64, 1, 1] }, { kind: 'rotation', size: 64 }],
    ['attn_inp_v_rot_swa', { shape: [32, 32, 1, 1] }, { kind: 'rotation', size: 32 }],
    ['attn_inp_kq_mask', {}, { kind: 'ours' }],
    ['attn_inp_kq_mask_swa', {}, { kind: 'ours' }],
    ['attn_inp_v_idxs', {}, { kind: 'ours' }],
  ])('knows %s', (name, change, expected) => {
    expect(leaf({ name, ...change })).toEqual(expected);
  });

  it.each<readonly [string, Partial<ImportedTensor>]>([
    ['', { type: dtype.I32, shape: [rows, 1, 1, 1] }],
    ['inp_embd', {}],
    ['blk.0.attn_q.bias', {}],
    ['attn_inp_kq_mask_cross', {}],
    ['inp_cls', { type: dtype.I32 }],
    // Known by name, but of another shape or type than what is filled in.
    ['inp_tokens', { type: dtype.I32, shape: [rows + 1, 1, 1, 1] }],
    ['inp_tokens', { type: dtype.F32, shape: [rows, 1, 1, 1] }],
    ['inp_pos', { type: dtype.I32, shape: [rows + 1, 1, 1, 1] }],
    ['inp_attn_scale', { shape: [rows, 1, 1, 1] }],
    ['attn_inp_k_rot', { shape: [64, 32, 1, 1] }],
  ])('refuses "%s" by its name, when nobody knows what it holds', (name, change) => {
    expect(() => leaf({ name, ...change })).toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringContaining(`has the input "${name}"`) as unknown,
      }),
    );
  });

  it.each([
    ['cache_r_l0', 'cache_r_l', 0],
    ['cache_s_l13', 'cache_s_l', 13],
    ['conv_states_all-1', 'conv_states_all-', 1],
    ['mamba_ssm_states-2', 'mamba_ssm_states-', 2],
  ])('knows the states in %s', (name, kind, layer) => {
    const shape = [96, 4, 1, 1] as const;
    expect(leaf({ name, type: dtype.F32, shape })).toEqual({ kind: 'state', layer, name: kind, width: 96 });
    expect(() => leaf({ name, type: dtype.F16, shape })).toThrow(/another type than F32/u);
  });
});

describe('leafOf without a name', () => {
  const known = new Set(['per_layer_token_embd.weight', 'token_embd.weight']);
  const ids = { type: dtype.I32, shape: [rows, 1, 1, 1], flags: tensorFlags.input } as const;
  const read = (table: string, change: Partial<ImportedTensor> = {}, op = 'GET_ROWS'): Leaf => {
    const graph = new HandMadeGraph();
    const pointer = graph.leaf('leaf_4', { ...ids, ...change });
    const node = graph.get(graph.node(op, [graph.leaf(table), pointer]));
    return leafOf(graph.get(pointer), rows, (name) => known.has(name), { node, get: (at) => graph.get(at) });
  };

  it('is token ids where it chooses rows of the embedding for each layer', () => {
    expect(read('per_layer_token_embd.weight')).toEqual({ kind: 'tokens' });
  });

  it.each<readonly [string, () => Leaf]>([
    ['rows of another table', () => read('token_embd.weight')],
    ['rows of a table that is no weight', () => read('blk.0.per_layer_token_embd.weight')],
    ['otherwise than as rows', () => read('per_layer_token_embd.weight', {}, 'MUL_MAT')],
    ['what is no input', () => read('per_layer_token_embd.weight', { flags: 0 })],
    ['numbers', () => read('per_layer_token_embd.weight', { type: dtype.F32 })],
    ['more than one for each row', () => read('per_layer_token_embd.weight', { shape: [rows, 2, 1, 1] })],
    ['others than rows', () => read('per_layer_token_embd.weight', { shape: [rows + 1, 1, 1, 1] })],
    ['what has a name', () => read('per_layer_token_embd.weight', { name: 'inp_other' })],
  ])('is refused where it chooses %s', (_, make) => {
    expect(make).toThrow(/has the input/u);
  });
});

describe('rootOf', () => {
  it('is what a view shows, or the tensor itself', () => {
    const graph = new HandMadeGraph();
    const cache = graph.leaf('cache_k_l0');
    const view = graph.node('VIEW', [cache], { viewOf: cache });
    expect(rootOf(graph, graph.get(view)).pointer).toBe(cache);
    expect(rootOf(graph, graph.get(cache)).pointer).toBe(cache);
  });
});

describe('weightUse', () => {
  it.each([
    ['MUL_MAT', 0, 'matmul'],
    ['MUL_MAT_ID', 0, 'experts'],
    ['GET_ROWS', 0, 'lookup'],
    // Kernels want the layout of their own for the first source alone.
    ['MUL_MAT', 1, 'elementwise'],
    ['GET_ROWS', 1, 'elementwise'],
    ['MUL', 0, 'elementwise'],
    ['VIEW', -1, 'elementwise'],
  ] as const)('of %s for its source %i is %s', (op, index, use) => {
    expect(weightUse(tensorOf({ op }), index)).toBe(use);
  });
});
