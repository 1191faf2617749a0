import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOracle } from './oracle.js';
import type { Oracle } from './oracle.js';
import { cachedSyntheticModel } from './synthetic/cached-model.js';

const trained = fileURLToPath(new URL('../../../../shared/models/aidreams-260k.gguf', import.meta.url));

describe('the oracle on a trained model', () => {
  let oracle: Oracle;
  beforeAll(async () => {
    oracle = await openOracle(trained, { threads: 1, contextTokens: 128 });
  });
  afterAll(() => oracle[Symbol.asyncDispose]());

  const prompt = (): number[] => [1, ...oracle.tokenize('Once upon a time', false)];

  it('tokenizes there and back', () => {
    const tokens = oracle.tokenize('Once upon a time', false);
    expect(tokens.length).toBeGreaterThan(1);
    expect(oracle.detokenize(tokens, false).trim()).toBe('Once upon a time');
    expect(oracle.tokenize('</s>', true)).toContain(2);
    expect(oracle.tokenize('</s>', false)).not.toContain(2);
  });

  it('continues greedily, the same each time, past tokens that end the text', async () => {
    const first = await oracle.greedy(prompt(), 100);
    expect(first).toHaveLength(100);
    expect(await oracle.greedy(prompt(), 100)).toEqual(first);
  });

  it('gives the logits whose maximum greedy decoding takes', async () => {
    const continuation = await oracle.greedy(prompt(), 20);
    const logits = await oracle.logits(prompt(), continuation.slice(0, -1));
    expect(logits.map((values) => values.indexOf(Math.max(...values)))).toEqual(continuation);
    expect(logits.every((values) => values.length === 512 && values.every(Number.isFinite))).toBe(true);
  });

  it('refuses more tokens than the context holds', async () => {
    await expect(oracle.greedy(prompt(), 1000)).rejects.toThrow('do not fit');
  });

  it('takes times', async () => {
    expect(await oracle.timePrefill(prompt())).toBeGreaterThan(0);
    expect(await oracle.timeDecode(prompt(), 5)).toBeGreaterThan(0);
  });
});

it('opens a synthetic model', async () => {
  const path = await cachedSyntheticModel({
    architecture: 'qwen3',
    layers: 2,
    hidden: 128,
    heads: 4,
    kvHeads: 2,
    headSize: 64,
    feedForward: 256,
    vocabulary: 500,
    tiedEmbeddings: true,
    type: 'Q8_0',
    seed: 1,
    contextTrained: 512,
  });
  await using oracle = await openOracle(path, { threads: 2, contextTokens: 512 });
  const prompt = oracle.tokenize('<|im_start|>the state of the art<|im_end|>', true);
  expect(new Set(await oracle.greedy(prompt, 32)).size).toBeGreaterThan(3);
});

const built = new URL('../dist/oracle.js', import.meta.url);

// A process of its own, which runs what `tsc -b` built; from a file, since node-llama-cpp forks with the same flags.
it.skipIf(!existsSync(built))('lets the process exit once it is disposed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'butterfly-oracle-'));
  const script = join(folder, 'script.mjs');
  await writeFile(
    script,
    `import { openOracle } from ${JSON.stringify(built.href)};
    const oracle = await openOracle(${JSON.stringify(trained)}, { threads: 2, contextTokens: 128 });
    console.log((await oracle.greedy([1], 3)).length);
    await oracle[Symbol.asyncDispose]();`,
  );
  const node = promisify(execFile)(process.execPath, [script], { timeout: 120_000 });
  await expect(node).resolves.toEqual({ stdout: '3\n', stderr: '' });
  await rm(folder, { recursive: true });
});
