import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toButterflyError } from '@butterfly/common';
import { describeAny, surveyModel } from '@butterfly/llama-graph';
import { type ModelSpec, openGguf, stateSlotsOf } from '@butterfly/model';
import {
  type ArchitectureFixture,
  type MatrixType,
  architectureFixtures,
  openOracle,
  writeArchitectureModel,
} from '@butterfly/testkit';
import { type SequenceState, emptyState, firstOwnState } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CacheType } from '@butterfly/wire';
import { SplitModel } from '../split-model.js';
import { randomCuts } from '../testing/cuts.js';
import { difference, ggml, part, runThrough, someTokens, tokenStep } from '../testing/stages.js';
import { modelsDocument, type MatrixRow, type Refusal } from '../testing/models-document.js';

const regionSlots = 256;
const prompt = 40;
const continuation = 8;
const others = 3;
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

/** A sequence that is computed alone, then beside others, then from a copy of its beginning. */
async function alone(model: SplitModel, tokens: readonly number[]): Promise<Float32Array[]> {
  const { stages } = model;
  const first = part({ rows: prompt, state: stateOf(model, 0, 0) });
  const results = await runThrough(stages, tokenStep([first], tokens.slice(0, prompt)));
  for (let position = prompt; position < tokens.length; position++) {
    const next = part({ positionStart: position, state: stateOf(model, 0, position - prompt + 1) });
    results.push(...(await runThrough(stages, tokenStep([next], tokens.slice(position, position + 1)))));
  }
  return results;
}

/** Where a sequence has its state in its steps: two slots that take turns. */
function stateOf({ spec }: SplitModel, id: number, step: number): SequenceState | null {
  if (stateSlotsOf(spec) === 0) return null;
  const first = firstOwnState + 2 * id;
  return { from: step === 0 ? emptyState : first + (step % 2), to: first + ((step + 1) % 2) };
}

async function amongOthers(model: SplitModel, tokens: readonly number[]): Promise<Float32Array[]> {
  const { stages } = model;
  const beside = someTokens(tokens.length, model.spec.vocabulary, 5);
  const sequence = (id: number, positionStart: number, count: number, step: number) =>
    part({
      sequenceId: id,
      regionStart: id * regionSlots,
      positionStart,
      rows: count,
      state: stateOf(model, id, step),
    });
  const results: Float32Array[] = [];
  for (let other = 1; other <= others; other++)
    await runThrough(stages, tokenStep([sequence(other, 0, other, 0)], beside.slice(0, other)));
  for (let position = 0; position < tokens.length;) {
    const count = position === 0 ? prompt : 1;
    const step = position === 0 ? 0 : position - prompt + 1;
    const sequences = [
      ...Array.from({ length: others }, (_, i) => sequence(i + 1, i + 1 + step, 1, step + 1)),
      sequence(0, position, count, step),
    ];
    const besides = Array.from({ length: others }, (_, i) => beside[i + 1 + step] ?? 0);
    const computed = await runThrough(
      stages,
      tokenStep(sequences, [...besides, ...tokens.slice(position, position + count)]),
    );
    results.push(...computed.slice(-1));
    position += count;
  }
  return results;
}

/** The same continued from a copy of its prompt in another region, and from the state behind it. */
async function afterCopy(model: SplitModel, tokens: readonly number[]): Promise<Float32Array[]> {
  const { stages } = model;
  const checkpoint = stateOf(model, 0, 0);
  await runThrough(stages, tokenStep([part({ rows: prompt, state: checkpoint })], tokens.slice(0, prompt)));
  const results: Float32Array[] = [];
  for (let position = prompt; position < tokens.length; position++) {
    const copies = position === prompt ? [{ fromSlot: 0, toSlot: regionSlots, slots: prompt }] : [];
    const own = stateOf(model, 1, position - prompt + 1);
    const state = own && position === prompt ? { ...own, from: checkpoint?.to ?? emptyState } : own;
    const sequence = part({ regionStart: regionSlots, positionStart: position, state });
    results.push(
      ...(await runThrough(stages, tokenStep([sequence], tokens.slice(position, position + 1), copies))),
    );
  }
  return results;
}

async function describeFixture(fixture: ArchitectureFixture, matrices: MatrixType): Promise<ModelSpec> {
  return describeAny(await openGguf(pathOf(fixture, matrices)), (request) =>
    Promise.resolve(surveyModel(ggml, request)),
  );
}

/** Compares a model with llama.cpp, in stages of which each cut is another one. */
async function compare(
  fixture: ArchitectureFixture,
  spec: ModelSpec,
  { matrices, cacheType }: { readonly matrices: MatrixType; readonly cacheType: CacheType },
): Promise<{ readonly row: MatrixRow; readonly amongOthers: number }> {
  const path = pathOf(fixture, matrices);
  const options = { threads: 1, cacheType } as const;
  // Some take other RoPE factors for longer contexts, whatever the length of the prompt.
  const contextTokens = spec.graph.kind === 'imported' ? spec.graph.contextTokens : 512;
  await using oracle = await openOracle(path, { ...options, contextTokens });
  const tokens = someTokens(prompt + continuation, spec.vocabulary, 3);
  const expected = await oracle.logits(tokens.slice(0, prompt), tokens.slice(prompt));
  const stages: MatrixRow['stages'][number][] = [];
  let [among, copied] = [NaN, NaN];
  for (const count of [1, 2, 3]) {
    const cuts = randomCuts(fixture.name, count, spec);
    using model = await SplitModel.open(spec, { ...options, cuts, contextTokens: 4 * regionSlots });
    const actual = await alone(model, tokens);
    stages.push({ cuts, result: verdict(difference(actual, expected)) });
    if (count !== 2) continue;
    among = difference(await amongOthers(model, tokens), actual);
    copied = difference(await afterCopy(model, tokens), actual.slice(1));
  }
  const row = { name: fixture.name, spec, matrices, stages, copied: verdict(copied) };
  return { row, amongOthers: among };
}

function expectEqual({ row, amongOthers: among }: Awaited<ReturnType<typeof compare>>): void {
  expect([...row.stages.map(({ result }) => result), row.copied]).toEqual([
    'equal',
    'equal',
    'equal',
    'equal',
  ]);
  expect(among).toBeLessThan(amongOthersMax[row.matrices]);
}

describe('architectures of llama.cpp, in stages cut anywhere', () => {
  it.each(fixtures.map((fixture, i) => [fixture.name, fixture, typesOf(i)] as const))(
    '%s',
    async (name, fixture, types) => {
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
        const compared = await compare(fixture, spec, { matrices, cacheType: 'f16' });
        expectEqual(compared);
        table.push(compared.row);
      }
    },
  );

  it.each(['qwen3moe', 'deepseek2', 'gemma3', 'gpt-oss', 'llama4'])(
    '%s with a cache of Q8_0',
    async (name) => {
      const fixture = fixtureOf(name);
      const spec = await describeFixture(fixture, 'Q8_0');
      expectEqual(await compare(fixture, spec, { matrices: 'Q8_0', cacheType: 'q8_0' }));
    },
  );

  it.each(wide.map((fixture) => [fixture.name, fixture] as const))('%s in Q4_K', async (_, fixture) => {
    const spec = await describeFixture(fixture, 'Q4_K');
    const compared = await compare(fixture, spec, { matrices: 'Q4_K', cacheType: 'f16' });
    expectEqual(compared);
    table.push(compared.row);
  });

  it('are as docs/models.md tells', async () => {
    const shown = new Set([...table, ...refused].map(({ name }) => name));
    expect(shown.size + encoders.size).toBe(fixtures.length + wide.length);
    await expect(modelsDocument(table, refused)).toMatchFileSnapshot('../../../../docs/models.md');
  });
});
