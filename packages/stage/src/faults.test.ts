import { copyFile, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelSpec } from '@butterfly/model';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { type SamplingParams, type StepResult, type StepSequence, greedySampling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { faultySequences } from './faults.js';
import type { StageRuntime } from './runtime.js';
import {
  describeFile,
  difference,
  loadStage,
  part,
  runThrough,
  smallModel,
  someTokens,
  tokenStep,
  trainedModel,
  type PlainStep,
} from './testing/stages.js';

const nan = 0x7fc0_0000;
const infinity = 0x7f80_0000;

let folder = '';
let copies = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-faults-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A copy of a model in which the beginning of a row of one tensor is something else. */
async function patched(
  path: string,
  { name, row = 0, bytes }: { readonly name: string; readonly row?: number; readonly bytes: Uint8Array },
): Promise<ModelSpec> {
  const tensor = (await describeFile(path)).tensors.find((each) => each.name === name);
  if (!tensor) throw new Error(`${path} has no ${name}`);
  const copy = join(folder, `${copies++}.gguf`);
  await copyFile(path, copy);
  const rows = tensor.shape.slice(1).reduce((product, size) => product * size, 1);
  const file = await open(copy, 'r+');
  await file.write(bytes, 0, bytes.length, tensor.offset + (tensor.bytes / rows) * row);
  await file.close();
  return await describeFile(copy);
}

const f32 = (bits: number): Uint8Array => new Uint8Array(Uint32Array.of(bits).buffer);

/** Stages of the model, split before each of these layers. */
async function split(spec: ModelSpec, ...cuts: number[]): Promise<StageRuntime[]> {
  const bounds = [0, ...cuts, spec.layers];
  const stages: StageRuntime[] = [];
  for (const [i, layerStart] of bounds.slice(0, -1).entries())
    stages.push(await loadStage(spec, { range: { layerStart, layerEnd: bounds[i + 1] ?? 0 }, rowsMax: 256 }));
  return stages;
}

function dispose(stages: readonly StageRuntime[]): void {
  for (const stage of stages) stage[Symbol.dispose]();
}

interface Answer {
  readonly outputs: StepResult['outputs'];
  /** By stage, the sequences whose numbers became faulty there. */
  readonly arose: readonly number[][];
}

async function answer(stages: readonly StageRuntime[], step: PlainStep): Promise<Answer> {
  let { payload } = step;
  const arose: number[][] = [];
  for (const stage of stages) {
    const { activations, logits, faults } = await stage.run({ ...step, payload, tokens: step.payload });
    const origins = [...(faults ? faultySequences(step.sequences, faults) : [])];
    arose.push(origins.filter(([, origin]) => origin === 'here').map(([id]) => id));
    // At an odd offset of a Buffer, as it lies in a frame.
    if (activations) payload = Buffer.concat([new Uint8Array(1), activations]).subarray(1);
    if (!stage.isLast) continue;
    using sampler = stage.createSampler();
    return { outputs: await sampler.sample(step.sequences, logits, faults), arose };
  }
  throw new Error('The last stage is the last.');
}

const failedIds = ({ outputs }: Answer): number[] =>
  outputs.filter(({ tokens }) => tokens.length === 0).map(({ sequenceId }) => sequenceId);

const samplings: readonly SamplingParams[] = [
  greedySampling,
  { ...greedySampling, repeatPenalty: 1.1, presencePenalty: 0.5 },
  { ...greedySampling, temperature: 1, seed: 1 },
  { ...greedySampling, temperature: 0.7, topK: 40, topP: 0.9, minP: 0.05, seed: 2 },
];

/** One sequence for each way to sample. */
const sampled = (tokens: readonly number[], ids = samplings.map((_, index) => index)): PlainStep =>
  tokenStep(
    ids.map((sequenceId, index) =>
      part({
        sequenceId,
        regionStart: 256 * index,
        rows: tokens.length,
        sampling: samplings[sequenceId] ?? null,
        recentTokens: Int32Array.from(sequenceId === 1 ? tokens : []),
      }),
    ),
    ids.flatMap(() => tokens),
  );

const types = ['F32', 'F16', 'Q8_0', 'Q4_0', 'Q4_K'] as const;

describe.each(types)('numbers that are none, with %s', (type) => {
  let path = '';
  beforeAll(async () => {
    path = await cachedSyntheticModel({ ...smallModel, tiedEmbeddings: false, type });
  });

  it.each([
    ['output_norm.weight', nan],
    ['output_norm.weight', infinity],
    ['blk.1.attn_norm.weight', nan],
    ['blk.2.ffn_norm.weight', nan],
  ])('are no answer when %s begins with %i, however it is sampled', async (name, bits) => {
    for (const cuts of [[], [1], [1, 2]]) {
      const stages = await split(await patched(path, { name, bytes: f32(bits) }), ...cuts);
      const result = await answer(stages, sampled([5, 6, 7]));
      expect(failedIds(result)).toEqual([0, 1, 2, 3]);
      dispose(stages);
    }
  });

  it('fail the sequences whose tokens they come of, and no others', async () => {
    const faulty = 9;
    // A scale in F16 or F32 comes first in a row of any type.
    const bytes = type === 'F32' ? f32(nan) : Uint8Array.of(0, 0x7e);
    const spec = await patched(path, { name: 'token_embd.weight', row: faulty, bytes });
    for (const cuts of [[], [1], [2]]) {
      const [stages, sound] = [await split(spec, ...cuts), await split(await describeFile(path), ...cuts)];
      const sequences = [
        part({ sequenceId: 1, rows: 3, sampling: greedySampling }),
        part({ sequenceId: 2, rows: 3, regionStart: 256, sampling: greedySampling }),
        part({ sequenceId: 3, rows: 2, logitRows: 0, regionStart: 512 }),
        part({ sequenceId: 4, rows: 2, logitRows: 0, regionStart: 768 }),
      ];
      const step = tokenStep(sequences, [1, 2, 3, 4, faulty, 5, 6, faulty, 7, 8]);
      const [actual, expected] = [await answer(stages, step), await answer(sound, step)];
      expect(failedIds(actual)).toEqual([2, 3]);
      expect(actual.outputs[0]).toEqual(expected.outputs[0]);
      expect(actual.arose[0]).toEqual([2, 3]);
      expect(actual.arose.slice(1).flat()).toEqual([]);
      // The next chunk of a prompt attends to what is cached of the faulty one, even where that looks like a number.
      const next = part({
        sequenceId: 3,
        rows: 2,
        positionStart: 2,
        regionStart: 512,
        sampling: greedySampling,
      });
      expect(failedIds(await answer(stages, tokenStep([next], [1, 2])))).toEqual([3]);
      dispose([...stages, ...sound]);
    }
  });
});

describe('what faulty rows leave in the cache', () => {
  const faulty = 9;
  const path = (): Promise<string> =>
    cachedSyntheticModel({ ...smallModel, tiedEmbeddings: false, type: 'F32' });
  const unsound = async (): Promise<ModelSpec> =>
    patched(await path(), { name: 'token_embd.weight', row: faulty, bytes: f32(nan) });
  const long = (count: number): number[] =>
    someTokens(count, 300).map((token) => (token === faulty ? 8 : token));

  /** 200 tokens, of which the one at `at` is faulty. */
  const poison = (at: number, change: Partial<StepSequence> = {}): PlainStep =>
    tokenStep([part({ sequenceId: 1, rows: 200, logitRows: 0, ...change })], long(200).with(at, faulty));

  it.each([[[]], [[1]], [[1, 2]]])('does not reach who is given its region, split at %j', async (cuts) => {
    const [stages, fresh] = [await split(await unsound(), ...cuts), await split(await unsound(), ...cuts)];
    const bystander = tokenStep([part({ sequenceId: 2, rows: 140, sampling: greedySampling })], long(140));
    await answer(stages, poison(150));
    // Its rows are masked, but they lie in the same block as those of the next one.
    const [after, expected] = [await answer(stages, bystander), await answer(fresh, bystander)];
    expect(failedIds(after)).toEqual([]);
    expect(after).toEqual(expected);
    const logits = await runThrough(stages, bystander);
    expect(difference(logits, await runThrough(fresh, bystander))).toBe(0);
    dispose([...stages, ...fresh]);
  });

  it('goes with copies, as far as it is copied', async () => {
    const stages = await split(await unsound());
    await answer(stages, poison(150));
    const goOn = (sequenceId: number, positionStart: number, regionStart: number): StepSequence =>
      part({ sequenceId, positionStart, regionStart, sampling: greedySampling });
    const copies = [
      { fromSlot: 0, toSlot: 256, slots: 120 },
      { fromSlot: 0, toSlot: 512, slots: 151 },
    ];
    const step = tokenStep([goOn(2, 120, 256), goOn(3, 151, 512)], [1, 1], copies);
    expect(failedIds(await answer(stages, step))).toEqual([3]);
    dispose(stages);
  });

  it('is forgotten where it is overwritten', async () => {
    const stages = await split(await unsound());
    await answer(stages, poison(20));
    const again = part({ sequenceId: 2, rows: 100, logitRows: 0 });
    await answer(stages, tokenStep([again], long(100)));
    const next = part({ sequenceId: 2, positionStart: 100, rows: 100, sampling: greedySampling });
    expect(failedIds(await answer(stages, tokenStep([next], long(100))))).toEqual([]);
    dispose(stages);
  });

  it('does no harm as a guess that is not confirmed', async () => {
    const [stages, fresh] = [await split(await unsound(), 1), await split(await unsound(), 1)];
    const guessing = (draftTokens: number[]): PlainStep =>
      tokenStep(
        [
          part({
            rows: 3 + draftTokens.length,
            logitRows: 1 + draftTokens.length,
            draftTokens: Int32Array.from(draftTokens),
            sampling: greedySampling,
          }),
        ],
        [1, 2, 3, ...draftTokens],
      );
    const [sampledNext] = (await answer(fresh, guessing([]))).outputs[0]?.tokens ?? [];
    expect(sampledNext).toBeTypeOf('number');
    const wrong = await answer(stages, guessing([faulty, faulty, 5]));
    expect(wrong.outputs).toEqual([{ sequenceId: 1, tokens: Int32Array.of(sampledNext ?? -1) }]);
    // Confirmed, but of what follows nothing can be said: the line ends, and the next step finds it out.
    const spec = await patched(await path(), {
      name: 'token_embd.weight',
      row: sampledNext ?? 0,
      bytes: f32(nan),
    });
    const stuck = await split(spec, 1);
    const outputs = (await answer(stuck, guessing([sampledNext ?? 0, 5]))).outputs;
    expect(outputs).toEqual([{ sequenceId: 1, tokens: Int32Array.of(sampledNext ?? -1) }]);
    const next = part({ positionStart: 3, sampling: greedySampling });
    expect(failedIds(await answer(stuck, tokenStep([next], [sampledNext ?? 0])))).toEqual([1]);
    // And what the wrong guesses left behind reaches no later rows of the same sequence.
    const after = part({ positionStart: 3, rows: 90, sampling: greedySampling });
    expect(failedIds(await answer(stages, tokenStep([after], long(90))))).toEqual([]);
    dispose([...stages, ...fresh, ...stuck]);
  });
});

it('finds a NaN in the weights of the model that is trained', async () => {
  const spec = await patched(trainedModel, { name: 'output_norm.weight', bytes: f32(nan) });
  const stages = await split(spec, 2);
  expect(failedIds(await answer(stages, sampled([1, 2, 3])))).toEqual([0, 1, 2, 3]);
  dispose(stages);
});
