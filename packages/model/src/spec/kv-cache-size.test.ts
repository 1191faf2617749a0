import { expect, it } from 'vitest';
import { cacheBytes, withoutRooms } from './kv-cache-size.js';
import type { LayerAttention, ModelSpec } from './spec.js';

const layer = (window: LayerAttention['window']): LayerAttention => ({
  heads: 8,
  kvHeads: 4,
  keySize: 256,
  valueSize: 256,
  window,
});
const spec: Pick<ModelSpec, 'attention' | 'graph'> = {
  attention: [
    layer(null),
    layer({ kind: 'sliding', tokens: 1024 }),
    layer({ kind: 'chunked', tokens: 8192 }),
    null,
  ],
  graph: {
    kind: 'imported',
    metadata: '',
    metadataKeys: 1,
    contextTokens: 32_768,
    states: [],
    stateSlots: 0,
    windows: { windowTokens: 1024, rooms: 20, roomSlots: 2048 },
    experts: null,
    temperature: null,
    head: null,
  },
};
const sizesOf = (of: typeof spec): number[] =>
  of.attention.map((_, index) => cacheBytes(of, index, { arenaSlots: 131_072, type: 'f16' }));

it('counts rooms for layers with a sliding window, and the arena for others', () => {
  const token = 4 * 256 * 2 * 2;
  expect(sizesOf(spec)).toEqual([131_072 * token, 20 * 2048 * token, 131_072 * token, 0]);
  const whole = withoutRooms(spec as ModelSpec);
  expect(sizesOf(whole)).toEqual([131_072 * token, 131_072 * token, 131_072 * token, 0]);
});
