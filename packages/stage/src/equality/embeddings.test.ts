import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensure } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import {
  type ArchitectureFixture,
  type MatrixType,
  architectureFixtures,
  openEmbeddingOracle,
  writeArchitectureModel,
  triedOf,
  isShortened,
} from '@butterfly/testkit';
import { type Pooling, poolings } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from '../split-model.js';
import { embeddingsDocument, type EmbeddingRow } from '../testing/embeddings-document.js';
import { describeFile, difference, embedThrough, someTokens } from '../testing/stages.js';
import { randomCuts } from '../testing/cuts.js';

const contextTokens = 1024;
/** Which the library puts before each text. */
const beginning = 1;
/** Of fewer rows than a tile of attention, of a whole tile, and of more. */
const lengths = [5, 64, 100];
const encoders = [
  'bert',
  'eurobert',
  'gemma-embedding',
  'jina-bert-v2',
  'jina-bert-v3',
  'llama-embed',
  'modern-bert',
  'neo-bert',
  'nomic-bert',
  'nomic-bert-moe',
];
/** With a graph of our own, and with windows, experts, latent attention, sinks and states in llama.cpp's. */
const causal = ['llama', 'qwen3', 'gemma3', 'qwen3moe', 'deepseek2', 'gpt-oss', 'lfm2', 'mamba2'];
const head = ['cls.weight', 'cls.bias', 'cls.output.weight', 'cls.output.bias'];
const rerankers = new Map([
  ['bert', head],
  ['modern-bert', head],
  ['qwen3', ['cls.output.weight']],
]);
/** Projections behind the pooling, as sentence transformers have them. */
const projections = ['dense_2.weight', 'dense_3.weight'];

interface Case {
  readonly name: string;
  readonly pooling: Pooling;
  readonly matrices: MatrixType;
  readonly fixture: ArchitectureFixture;
}

const cases: readonly Case[] = [
  ...encoders.flatMap((name) => [
    caseOf(name, 'mean', 'Q8_0'),
    caseOf(name, 'mean', 'F16'),
    caseOf(name, 'cls', 'Q8_0'),
  ]),
  ...causal.flatMap((name) => [
    caseOf(name, 'last', 'Q8_0'),
    caseOf(name, 'mean', 'Q8_0'),
    caseOf(name, 'mean', 'F16'),
  ]),
  ...[...rerankers].map(([name, optional]) => caseOf(name, 'rank', 'Q8_0', { optional })),
  caseOf('gemma-embedding', 'mean', 'Q8_0', {
    name: 'gemma-embedding, projected',
    optional: projections,
    metadata: { dense_2_feat_in: 128, dense_2_feat_out: 192, dense_3_feat_in: 192, dense_3_feat_out: 128 },
  }),
];

function caseOf(
  name: string,
  pooling: Pooling,
  matrices: MatrixType,
  more: Partial<Pick<ArchitectureFixture, 'name' | 'optional' | 'metadata'>> = {},
): Case {
  const fixture = architectureFixtures().find((each) => each.name === name);
  ensure(fixture !== undefined, () => `There is no fixture ${name}.`);
  const metadata = { ...fixture.metadata, pooling_type: 1 + poolings.indexOf(pooling), ...more.metadata };
  const optional = [...fixture.optional, ...(more.optional ?? [])];
  return { name: more.name ?? name, pooling, matrices, fixture: { ...fixture, metadata, optional } };
}

let folder: string;
const pathOf = ({ name, pooling, matrices }: Case): string =>
  join(folder, `${name}-${pooling}-${matrices}.gguf`);
// All at once, because the oracle takes llama.cpp's log, which tells how many tensors there are to be.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-embeddings-'));
  for (const each of cases) await writeArchitectureModel(pathOf(each), each.fixture, each.matrices);
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const verdict = (largest: number): string => (largest === 0 ? 'equal' : largest.toExponential(0));
const table: EmbeddingRow[] = [];

/** The embeddings of texts by llama.cpp, each alone. */
async function expectedOf(path: string, texts: readonly (readonly number[])[]): Promise<Float32Array[]> {
  await using oracle = await openEmbeddingOracle(path, { threads: 1, contextTokens });
  const expected: Float32Array[] = [];
  for (const text of texts) expected.push(await oracle.embedding(text));
  return expected;
}

async function compare(each: Case, spec: ModelSpec): Promise<EmbeddingRow> {
  const { name, pooling, matrices } = each;
  const texts = lengths.map((length, i) => [beginning, ...someTokens(length - 1, spec.vocabulary, i + 3)]);
  const expected = await expectedOf(pathOf(each), texts);
  const stages: EmbeddingRow['stages'][number][] = [];
  for (const count of [1, 2, 3]) {
    const cuts = randomCuts(`${name} ${pooling}`, count, spec);
    using model = await SplitModel.open(spec, { threads: 1, cuts, contextTokens });
    const alone: Float32Array[] = [];
    for (const text of texts) alone.push(...(await embedThrough(model, [text], pooling)));
    const together = await embedThrough(model, texts, pooling);
    stages.push({
      cuts,
      alone: verdict(difference(alone, expected)),
      together: verdict(difference(together, expected)),
    });
  }
  return { name, pooling, matrices, spec, stages };
}

describe('embeddings, in stages cut anywhere', () => {
  it.each(triedOf(cases).map((each) => [each.name, each.pooling, each.matrices, each] as const))(
    '%s by %s in %s',
    async (_, pooling, __, each) => {
      const spec = await describeFile(pathOf(each));
      expect(spec.embedding?.pooling).toBe(pooling);
      expect(spec.isEncoder).toBe(encoders.includes(each.fixture.name));
      const row = await compare(each, spec);
      table.push(row);
      expect(row.stages.map(({ alone }) => alone)).toEqual(['equal', 'equal', 'equal']);
      expect(row.stages.map(({ together }) => together)).toEqual(['equal', 'equal', 'equal']);
    },
  );

  it.skipIf(isShortened)('are as docs/embeddings.md tells', async () => {
    await expect(embeddingsDocument(table)).toMatchFileSnapshot('../../../../docs/embeddings.md');
  });
});
