import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { beforeAll, describe, expect, it } from 'vitest';
import { randomSchema } from '@butterfly/constraint/testing';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { LocalCluster, type GeneratedText } from '../local-cluster.js';

const contextTokens = 1024;
const outputTokens = 600;
/** Each with a schema, a temperature and a seed of its own. */
const answers = 8;
const prompt = [1, 300, 301, 302];

let model = '';
beforeAll(async () => {
  model = await cachedSyntheticModel({
    architecture: 'llama',
    layers: 3,
    hidden: 64,
    heads: 4,
    kvHeads: 2,
    headSize: 16,
    feedForward: 128,
    vocabulary: 512,
    tiedEmbeddings: false,
    type: 'F32',
    seed: 5,
    contextTrained: contextTokens,
  });
});

const start = (workers: number): Promise<LocalCluster> =>
  LocalCluster.start(model, {
    workers,
    threads: 1,
    contextTokens,
    parallel: 4,
    speculation: 'auto',
    isDeterministic: true,
  });

function ask(
  cluster: LocalCluster,
  seed: number,
  onPiece?: (pieces: number) => void,
): Promise<GeneratedText> {
  const sampling = { ...greedySampling, temperature: 1 + (seed % 3) / 2, seed };
  const constraint = { kind: 'schema', schema: randomSchema(seed) } as const;
  return cluster.generate(prompt, outputTokens, sampling, onPiece, constraint);
}

const seeds = Array.from({ length: answers }, (_, index) => index + 1);
const tokensOf = (texts: readonly GeneratedText[]): unknown => texts.map(({ tokenIds }) => tokenIds);

describe('constrained answers of worker processes', () => {
  let alone: GeneratedText[];
  let texts: string[];
  beforeAll(async () => {
    await using cluster = await start(1);
    alone = [];
    for (const seed of seeds) alone.push(await ask(cluster, seed));
    texts = alone.map(({ tokenIds }) => cluster.textOf(tokenIds));
  });

  it('are valid once they end', () => {
    const ended = alone.map(({ isStopped }) => isStopped);
    expect(ended.filter(Boolean).length).toBeGreaterThan(answers / 2);
    for (const [index, text] of texts.entries()) {
      if (!ended[index]) continue;
      const ajv = new Ajv2020({ strict: false });
      formats.default(ajv);
      expect(ajv.validate(randomSchema(seeds[index] ?? 0), JSON.parse(text)), text).toBe(true);
    }
  });

  it.each([2, 3])('are the same from %i stages, among each other', async (workers) => {
    await using cluster = await start(workers);
    const together = await Promise.all(seeds.map((seed) => ask(cluster, seed)));
    expect(tokensOf(together)).toEqual(tokensOf(alone));
  });

  it('are the same when the last stage dies in their midst', async () => {
    await using cluster = await start(3);
    let isHit = false;
    const together = await Promise.all(
      seeds.map((seed) =>
        ask(cluster, seed, (pieces) => {
          if (isHit || pieces < 5 + seed) return;
          isHit = true;
          const last = cluster.describe().workers.find(({ layers }) => layers?.[1] === 2);
          cluster.signal(last?.name ?? '', 'SIGKILL');
        }),
      ),
    );
    expect(isHit).toBe(true);
    expect(tokensOf(together)).toEqual(tokensOf(alone));
  });
});
