import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensure } from '@butterfly/common';
import { type ModelSpec, joinedLayers } from '@butterfly/model';
import {
  type ArchitectureFixture,
  type MatrixType,
  architectureFixtures,
  openEmbeddingOracle,
  writeArchitectureModel,
} from '@butterfly/testkit';
import { poolings, type Pooling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from '../split-model.js';
import { describeFile, difference, embedThrough, someTokens } from '../testing/stages.js';

const beginning = 1;
/** Of fewer rows than a tile of attention, of a whole number of tiles, and of some more. */
const lengths = [5, 64, 100];
const encoders = ['bert','nomic-bert','nomic-bert-moe','jina-bert-v2','jina-bert-v3','modern-bert','neo-bert','eurobert','gemma-embedding','llama-embed'];
const causal = ['llama','qwen3','gemma3','qwen3moe','lfm2','mamba2','deepseek2','gpt-oss'].filter((n) => architectureFixtures().some((f) => f.name === n));
const cases = [...encoders, ...causal].flatMap((name) => (name==='bert'||causal.includes(name) ? (['mean','last'] as const) : (['mean','cls'] as const)).map((pooling) => [name, pooling] as const)).concat([['bert','rank'],['modern-bert','rank'],['qwen3','rank']] as never);
let folder: string;
const types: MatrixType[] = ['Q8_0','F16'];
const pathOf = (name: string, pooling: Pooling, type: MatrixType) => join(folder, `${name}-${pooling}-${type}.gguf`);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-embeddings-'));
  for (const [name, pooling] of cases) for (const type of types) {
    try { await writeArchitectureModel(pathOf(name, pooling, type), fixtureOf(name, pooling), type);} catch (e) { console.log(name, pooling, String(e)); }
  }
}, 300000);
afterAll(() => rm(folder, { recursive: true, force: true }));

function fixtureOf(name: string, pooling: Pooling): ArchitectureFixture {
  const fixture = architectureFixtures().find((each) => each.name === name);
  ensure(fixture !== undefined, () => `There is no fixture ${name}.`);
  const metadata = { ...fixture.metadata, pooling_type: 1 + poolings.indexOf(pooling) };
  const optional = pooling === 'rank' ? [...fixture.optional, ...(name==='qwen3'?['cls.output.weight']:['cls.weight','cls.bias','cls.output.weight','cls.output.bias'])] : fixture.optional;
  return { ...fixture, metadata, optional };
}

describe('embeddings', () => {
  it.each(cases.flatMap(([name, pooling]) => types.map((type) => [name, pooling, type] as const)))('%s %s %s', async (name, pooling, type) => {
    const path = pathOf(name, pooling, type);
    const spec = await describeFile(path);
    const out: unknown[] = [spec.embedding, spec.isEncoder, spec.graph.kind];
    await using oracle = await openEmbeddingOracle(path, { threads: 1, contextTokens: 512 });
    const texts = lengths.map((length, i) => [beginning, ...someTokens(length - 1, spec.vocabulary, i + 3)]);
    const expected: Float32Array[] = [];
    for (const text of texts) expected.push(await oracle.embedding(text));
    for (const cuts of [[], [2], [1, 4]]) {
      if (cuts.some((cut) => cut >= spec.layers || spec.crossings[cut - 1] === null)) continue;
      using model = await SplitModel.open(spec, { threads: 1, cuts, contextTokens: 1024 });
      const alone: Float32Array[] = [];
      for (const text of texts) alone.push(...(await embedThrough(model.stages, [text], pooling)));
      const together = await embedThrough(model.stages, texts, pooling);
      out.push(cuts.length + 1, difference(alone, expected), difference(together, expected));
    }
    console.log(name, pooling, type, JSON.stringify(out));
  });
});
