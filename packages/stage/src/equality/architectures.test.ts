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
import { SplitModel } from '../split-model.js';
import { difference, ggml, part, runThrough, someTokens, tokenStep } from '../testing/stages.js';

const regionSlots = 256;
const prompt = 40;
const continuation = 8;
const others = 3;
/** Of one architecture and one type of matrices. */
interface Row {
  readonly name: string;
  readonly matrices: MatrixType;
  /** `equal`, or the largest difference of a logit. */
  readonly results: readonly string[];
}

const rows: Row[] = [];
const refused: (readonly [name: string, reason: string])[] = [];
const fixtures = architectureFixtures();
const matrixTypes = ['F16', 'Q8_0'] as const;
let folder: string;
const pathOf = (fixture: ArchitectureFixture, matrices: MatrixType): string =>
  join(folder, `${fixture.name}-${matrices}.gguf`);
// All at once, because the oracle takes llama.cpp's log, which tells how many tensors there are to be.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-architectures-'));
  for (const fixture of fixtures)
    for (const matrices of matrixTypes)
      await writeArchitectureModel(pathOf(fixture, matrices), fixture, matrices);
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const verdict = (difference_: number): string => (difference_ === 0 ? 'equal' : difference_.toExponential(0));

/** Cuts that are other ones for each architecture, and the same each time. */
function someCuts(name: string, stages: number, layers: number): number[] {
  let seed = Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 65_537, stages);
  const cuts = new Set<number>();
  while (cuts.size < Math.min(stages, layers) - 1) {
    seed = (seed * 75 + 74) % 65_537;
    cuts.add(1 + (seed % (layers - 1)));
  }
  return [...cuts].sort((a, b) => a - b);
}

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
  await runThrough(
    stages,
    tokenStep([part({ rows: prompt, state: checkpoint })], tokens.slice(0, prompt)),
  );
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

async function compare(fixture: ArchitectureFixture, matrices: MatrixType, spec: ModelSpec): Promise<Row> {
  const path = spec.files[0]?.path ?? '';
  const options = { threads: 1, cacheType: 'f16' } as const;
  // Some take other RoPE factors for longer contexts, whatever the length of the prompt.
  const contextTokens = spec.graph.kind === 'imported' ? spec.graph.contextTokens : 512;
  await using oracle = await openOracle(path, { ...options, contextTokens });
  const tokens = someTokens(prompt + continuation, spec.vocabulary, 3);
  const expected = await oracle.logits(tokens.slice(0, prompt), tokens.slice(prompt));
  const results: string[] = [];
  for (const stages of [1, 2, 3]) {
    const cuts = someCuts(fixture.name, stages, spec.layers);
    using model = await SplitModel.open(spec, { ...options, cuts, contextTokens: 4 * regionSlots });
    const actual = await alone(model, tokens);
    results.push(verdict(difference(actual, expected)));
    if (stages !== 2) continue;
    results.push(verdict(difference(await amongOthers(model, tokens), actual)));
    results.push(verdict(difference(await afterCopy(model, tokens), actual.slice(1))));
  }
  const [one = '', two = '', among = '', copied = '', three = ''] = results;
  return { name: fixture.name, matrices, results: [one, two, three, among, copied] };
}

describe('architectures of llama.cpp, in stages cut anywhere', () => {
  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', async (name, fixture) => {
    for (const matrices of matrixTypes) {
      let spec: ModelSpec;
      try {
        spec = await describeFixture(fixture, matrices);
      } catch (thrown) {
        const error = toButterflyError(thrown);
        expect([error.code, error.message]).toEqual(['MODEL_UNSUPPORTED', error.message]);
        refused.push([name, error.message]);
        return;
      }
      const row = await compare(fixture, matrices, spec);
      rows.push(row);
      console.log(row.name, row.matrices, row.results.join(' '));
    }
  });
});
