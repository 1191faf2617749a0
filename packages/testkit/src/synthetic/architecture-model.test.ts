import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensure } from '@butterfly/common';
import { expect, it } from 'vitest';
import { architectureFixtures, architectureHeader, type ArchitectureFixture } from './architecture-model.js';
import { cachedArchitectureModel } from './cached-model.js';

function fixture(name: string): ArchitectureFixture {
  const found = architectureFixtures().find((each) => each.name === name);
  ensure(found !== undefined, () => `There is no fixture ${name}.`);
  return found;
}

it.each(['qwen3moe', 'qwen35', 'deepseek2'])(
  'tells the same tensors of %s whether llama.cpp makes memory for them or not',
  (name) => {
    const usual = fixture(name);
    const small = { ...usual, small: { embedding_length: 64 } };
    expect(architectureHeader(small, 'Q8_0')).toEqual(architectureHeader(usual, 'Q8_0'));
  },
);

it('writes the header of a model that no machine holds', () => {
  const usual = fixture('qwen3moe');
  const small = { embedding_length: 64, expert_feed_forward_length: 64 };
  const metadata = { ...usual.metadata, embedding_length: 65_536, expert_feed_forward_length: 1_048_576 };
  const large = { ...usual, small, metadata };
  expect(architectureHeader(large, 'Q4_0').dataBytes).toBeGreaterThan(2 ** 40);
});

it('keeps models of different types apart', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-cache-'));
  try {
    const first = await cachedArchitectureModel(fixture('qwen3moe'), 'Q4_0', directory);
    expect(await cachedArchitectureModel(fixture('qwen3moe'), 'Q4_0', directory)).toBe(first);
    expect(await cachedArchitectureModel(fixture('qwen3moe'), 'Q8_0', directory)).not.toBe(first);
  } finally {
    await rm(directory, { recursive: true });
  }
});
