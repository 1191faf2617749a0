import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toButterflyError } from '@butterfly/common';
import { describeAny, surveyModel } from '@butterfly/llama-graph';
import { type ModelSpec, openGguf } from '@butterfly/model';
import {
  type ArchitectureFixture,
  type MatrixType,
  architectureFixtures,
  openOracle,
  openOracleSteps,
  writeArchitectureModel,
  triedOf,
  isShortened,
} from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CacheType } from '@butterfly/wire';
import { SplitModel } from '../split-model.js';
import { randomCuts } from '../testing/cuts.js';
import { modelsDocument, type MatrixRow, type Refusal } from '../testing/models-document.js';
import { difference, ggml, someTokens } from '../testing/stages.js';
import {
  type Death,
  type Text,
  afterCopy,
  afterDeath,
  alone,
  amongOthers,
  ownOf,
  stepsAfter,
  stepsAmong,
  waysNeed,
} from '../testing/ways.js';

const prompt = 40;
const continuation = 8;
/** Where kernels take a row alone otherwise than among others; a wrong row would differ by several units. */
const amongOthersMax: Readonly<Record<MatrixType, number>> = {
  F16: 1,
  Q8_0: 0.1,
  Q4_0: 0.1,
  Q4_K: 0.5,
};
const fixtures = architectureFixtures();
/** Some in F16 too, as the type of matrices decides little of the graph. */
const isInF16 = (index: number): boolean => index % 8 === 0;
/** As wide as a block of a K type at least, which other fixtures are not. */
const wide = ['qwen3moe', 'gemma3', 'gpt-oss', 'qwen35'].map(widened);
const table: MatrixRow[] = [];
const refused: Refusal[] = [];
const encoders = new Set<string>();
let folder: string;
const pathOf = (fixture: ArchitectureFixture, matrices: MatrixType): string =>
  join(folder, `${fixture.name}-${matrices}.gguf`);
// All at once, because the oracle takes llama.cpp's log, which tells how many tensors there are to be.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-architectures-'));
  for (const [i, fixture] of fixtures.entries())
    for (const matrices of typesOf(i))
      await writeArchitectureModel(pathOf(fixture, matrices), fixture, matrices);
  for (const fixture of wide) await writeArchitectureModel(pathOf(fixture, 'Q4_K'), fixture, 'Q4_K');
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const typesOf = (index: number): MatrixType[] => (isInF16(index) ? ['Q8_0', 'F16'] : ['Q8_0']);
/** @throws RangeError where there is no fixture of this name */
function fixtureOf(name: string): ArchitectureFixture {
  const fixture = fixtures.find((each) => each.name === name);
  if (!fixture) throw new RangeError(`there is no fixture ${name}`);
  return fixture;
}

function widened(name: string): ArchitectureFixture {
  const fixture = fixtureOf(name);
  const width = { embedding_length: 256, feed_forward_length: 256, expert_feed_forward_length: 256 };
  return { ...fixture, name: `${name}-wide`, metadata: { ...fixture.metadata, ...width } };
}

const verdict = (largest: number): string => (largest === 0 ? 'equal' : largest.toExponential(0));

async function describeFixture(fixture: ArchitectureFixture, matrices: MatrixType): Promise<ModelSpec> {
  return describeAny(await openGguf(pathOf(fixture, matrices)), (request) =>
    Promise.resolve(surveyModel(ggml, request)),
  );
}

/** A number that is another one for each architecture, and the same each time. */
function seedOf(name: string, salt: number): number {
  return Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 65_537, salt);
}

/** The death of one of so many workers, somewhere in the midst of what is decoded. */
function someDeath(name: string, spec: ModelSpec, cuts: readonly number[]): Death {
  const seed = seedOf(name, 7);
  const bounds = [0, ...cuts, spec.layers];
  const stage = seed % (bounds.length - 1);
  const [layerStart = 0, layerEnd = 0] = bounds.slice(stage);
  return { stage, range: { layerStart, layerEnd }, known: prompt + 1 + (seed % (continuation - 1)) };
}

/** How far llama.cpp, given the same sequences in the same batches, is from itself. */
async function ownDifference(
  path: string,
  text: Text,
  expected: readonly Float32Array[],
  { spec, cacheType }: { readonly spec: ModelSpec; readonly cacheType: CacheType },
): Promise<number> {
  const options = {
    threads: 1,
    cacheType,
    contextTokens: oracleContext(spec),
    sequences: waysNeed.sequences,
  };
  await using oracle = await openOracleSteps(path, options);
  const results: Float32Array[] = [];
  for (const parts of stepsAmong(text, spec.vocabulary))
    results.push(...ownOf(parts, await oracle.step(parts)));
  return difference(results, expected);
}

/** Some take other RoPE factors for longer contexts, whatever the length of the prompt. */
const oracleContext = ({ graph }: ModelSpec): number =>
  graph.kind === 'imported' ? graph.contextTokens : 512;

/** Compares a model with llama.cpp, in stages of which each cut is another one. */
async function compare(
  { name }: ArchitectureFixture,
  spec: ModelSpec,
  path: string,
  { matrices, cacheType }: { readonly matrices: MatrixType; readonly cacheType: CacheType },
): Promise<{ readonly row: MatrixRow; readonly among: number }> {
  const options = { threads: 1, cacheType, contextTokens: oracleContext(spec) } as const;
  const text = { tokens: someTokens(prompt + continuation, spec.vocabulary, 3), prompt };
  const allCuts = [1, 2, 3].map((count) => randomCuts(name, count, spec));
  const death = someDeath(name, spec, allCuts[2] ?? []);
  const [expected, expectedAfterDeath] = await expectedOf(path, options, text, death);
  const stages: MatrixRow['stages'][number][] = [];
  let [among, copied, died] = [NaN, NaN, NaN];
  for (const [index, cuts] of allCuts.entries()) {
    using model = await SplitModel.open(spec, { ...options, ...waysNeed, cuts });
    stages.push({ cuts, result: verdict(difference(await alone(model, text), expected)) });
    if (index === 1) {
      among = difference(await amongOthers(model, text), expected);
      copied = difference(await afterCopy(model, text), expected.slice(1));
    }
    if (index === 2) died = difference(await afterDeath(model, text, death, cacheType), expectedAfterDeath);
  }
  const ofLlama = among === 0 ? 0 : await ownDifference(path, text, expected, { spec, cacheType });
  const results = {
    among: among === 0 ? 'equal' : `${verdict(among)} (${verdict(ofLlama)})`,
    copied: verdict(copied),
    died: verdict(died),
  };
  return { row: { name, spec, matrices, stages, ...results }, among };
}

/** What llama.cpp computes of a text alone, and after a death. */
async function expectedOf(
  path: string,
  options: Parameters<typeof openOracle>[1],
  { tokens }: Text,
  death: Death,
): Promise<[Float32Array[], Float32Array[]]> {
  await using oracle = await openOracle(path, options);
  return [
    await oracle.logits(tokens.slice(0, prompt), tokens.slice(prompt)),
    await oracle.logitsAfter(stepsAfter(death, tokens)),
  ];
}

function expectEqual({ row, among }: Awaited<ReturnType<typeof compare>>): void {
  const { stages, copied, died } = row;
  const results = { stages: stages.map(({ result }) => result), copied, died };
  expect(results).toEqual({ stages: ['equal', 'equal', 'equal'], copied: 'equal', died: 'equal' });
  expect(among).toBeLessThan(amongOthersMax[row.matrices]);
  // Where llama.cpp has the same bits in the same company, so have we.
  expect(row.among).not.toContain('(equal)');
}

const rows = triedOf(fixtures.map((fixture, i) => [fixture.name, fixture, typesOf(i)] as const));

describe('architectures of llama.cpp, in stages cut anywhere', () => {
  it.each(rows)('%s', async (name, fixture, types) => {
    for (const matrices of types) {
      let spec: ModelSpec;
      try {
        spec = await describeFixture(fixture, matrices);
      } catch (thrown) {
        const { code, message } = toButterflyError(thrown);
        expect([code, message]).toEqual(['MODEL_UNSUPPORTED', message]);
        refused.push({ name, architecture: fixture.architecture, message });
        return;
      }
      // What these give is compared in embeddings.test.ts.
      if (spec.isEncoder) {
        encoders.add(name);
        return;
      }
      const compared = await compare(fixture, spec, pathOf(fixture, matrices), {
        matrices,
        cacheType: 'f16',
      });
      expectEqual(compared);
      table.push(compared.row);
    }
  });

  it.each(['qwen3moe', 'deepseek2', 'gemma3', 'gpt-oss', 'llama4'])(
    '%s with a cache of Q8_0',
    async (name) => {
      const fixture = fixtureOf(name);
      const spec = await describeFixture(fixture, 'Q8_0');
      expectEqual(
        await compare(fixture, spec, pathOf(fixture, 'Q8_0'), { matrices: 'Q8_0', cacheType: 'q8_0' }),
      );
    },
  );

  it.each(wide.map((fixture) => [fixture.name, fixture] as const))('%s in Q4_K', async (_, fixture) => {
    const spec = await describeFixture(fixture, 'Q4_K');
    const compared = await compare(fixture, spec, pathOf(fixture, 'Q4_K'), {
      matrices: 'Q4_K',
      cacheType: 'f16',
    });
    expectEqual(compared);
    table.push(compared.row);
  });

  it.skipIf(isShortened)('are as docs/models.md tells', async () => {
    const shown = new Set([...table, ...refused].map(({ name }) => name));
    expect(shown.size + encoders.size).toBe(fixtures.length + wide.length);
    await expect(modelsDocument(table, refused)).toMatchFileSnapshot('../../../../docs/models.md');
  });
});
