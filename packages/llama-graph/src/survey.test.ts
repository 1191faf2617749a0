import { describe, expect, it } from 'vitest';
import { surveyRequest } from './describe.js';
import { surveyModel } from './survey-model.js';
import { surveyContextTokens, type GraphSurvey } from './survey.js';
import { ggml, openFixture, useFixtures } from './testing/fixtures.js';

useFixtures();
const survey = async (...options: Parameters<typeof openFixture>): Promise<GraphSurvey> =>
  surveyModel(ggml, surveyRequest(await openFixture(...options)));

describe('surveyModel', () => {
  it('tells which layers use each weight', async () => {
    const { users, shapes, layers } = await survey('afmoe');
    expect(users['token_embd.weight']).toEqual([0]);
    expect(users['output.weight']).toEqual([layers - 1]);
    expect(users['output_norm.weight']).toEqual([layers - 1]);
    for (let layer = 2; layer < layers; layer++)
      expect(users[`blk.${layer}.ffn_gate_inp.weight`]).toEqual([layer]);
    expect(shapes['blk.2.ffn_down_exps.weight']).toEqual([64, 128, 8, 1]);
  });

  it('tells that a tied embedding is used first and last', async () => {
    const { users, layers } = await survey('gemma3');
    expect(users['token_embd.weight']).toEqual([0, layers - 1]);
  });

  it('tells that frequencies of RoPE serve several layers', async () => {
    const { users } = await survey('phi3-longrope');
    const [factors] = Object.entries(users).filter(([name]) => name.startsWith('rope_factors'));
    expect(factors?.[1].length).toBeGreaterThan(1);
  });

  it('finds windows as long as the model has them, however long', async () => {
    const windows = async (tokens: number): Promise<unknown[]> => {
      const { attention } = await survey('gemma3', {
        'attention.sliding_window': { type: 'u32', value: tokens },
      });
      return attention.flatMap((layer) => (layer?.window ? [layer.window.tokens] : []));
    };
    expect(await windows(512)).toEqual((await windows(16)).map(() => 512));
    expect(await windows(8192)).toEqual((await windows(16)).map(() => 8192));
  });

  it('tells what layers keep of sequences, and which of them attend', async () => {
    const { attention, states } = await survey('qwen3next');
    // A window of 3 tokens over 512 channels, and 4 heads of 64 by 64.
    const recurrent = [
      { name: 'cache_r_l', width: 1536 },
      { name: 'cache_s_l', width: 16_384 },
    ];
    for (const [layer, kept] of states.entries()) {
      const isAttending = layer % 4 === 3;
      expect(attention[layer] === null).toBe(!isAttending);
      expect(kept).toEqual(isAttending ? [] : recurrent);
    }
  });

  it('tells of states that llama.cpp calls otherwise', async () => {
    const { states } = await survey('kimi-linear');
    expect(states[0]?.map(({ name }) => name).sort()).toEqual(['cache_s_l', 'conv_states_all-']);
  });

  it('parts no layers of which one attends to what another caches', async () => {
    // The last two of eight layers: the one with a window to layer 4, the other to layer 5.
    const { crossings, attention } = await survey('gemma4');
    expect(crossings).toEqual([128, 128, 128, 128, null, null, null]);
    expect(attention.map((layer) => layer?.keySize ?? null)).toEqual([32, 32, 64, 32, 32, 64, null, null]);
  });

  it.each([
    // Four streams of 128 numbers, as a third dimension.
    ['gemma3n', [512]],
    ['hy_v4', [512]],
    // What several layers before gave, and more of it from block to block.
    ['kimi-k3', [128, 384, 512]],
    ['talkie', [128]],
  ])('tells what crosses the cuts of %s', async (name, widths) => {
    const { crossings } = await survey(name);
    expect([...new Set(crossings.filter((width) => width !== null))]).toEqual(widths);
  });

  it('tells of an encoder that nothing is cached, and of others how wide their embeddings are', async () => {
    const encoder = await survey('bert');
    expect(encoder.isEncoder).toBe(true);
    expect(encoder.attention.every((layer) => layer === null)).toBe(true);
    expect(encoder.embedding).toEqual({ width: 128, scores: 0, takes: 'row' });
    const causal = await survey('gemma3');
    expect([causal.isEncoder, causal.embedding?.width]).toEqual([false, 128]);
  });

  it('tells which layers behind the first read tokens', async () => {
    expect((await survey('qwen3vl')).tokenLayers).toEqual([1, 2]);
    expect((await survey('talkie')).tokenLayers).toEqual([1, 2, 3, 4, 5]);
    expect((await survey('gemma3')).tokenLayers).toEqual([]);
    const { tokenLayers, users } = await survey('gemma4-ple');
    expect(tokenLayers).toEqual([1, 2, 3, 4, 5]);
    expect(users['per_layer_token_embd.weight']).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('tells that layers which are gone through twice use the same weights', async () => {
    const { users, crossings } = await survey('nanbeige');
    expect(users['blk.0.attn_k.weight']).toContain(3);
    expect(crossings).toEqual([128, 128, 128, null, null]);
  });

  it.each([
    ['deepseek32', 'computes LIGHTNING_INDEXER with cached keys or values'],
    ['grok', 'computes MUL_MAT with cached keys or values'],
    ['dream', 'makes no embedding but logits'],
  ])('refuses %s: %s', async (name, words) => {
    await expect(survey(name)).rejects.toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringContaining(words) as unknown,
      }),
    );
  });
});

describe('what ggml would compute with memory that is not its own', () => {
  it('is refused', async () => {
    const heads = survey('rwkv7', { 'wkv.head_size': { type: 'u32', value: 32 } });
    await expect(heads).rejects.toThrow(/RWKV_WKV7 with heads of 32/u);
  });
});

describe('surveyContextTokens', () => {
  it('is more than twice any window, in whole blocks', () => {
    for (const window of [0, 1, 16, 512, 8192, 1_000_000]) {
      expect(surveyContextTokens(window)).toBeGreaterThan(2 * window + 1024);
      expect(surveyContextTokens(window) % 256).toBe(0);
    }
  });
});
