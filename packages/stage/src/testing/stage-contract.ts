import { describe, expect, it, onTestFinished } from 'vitest';
import type { ModelSpec } from '@butterfly/model';
import type { TensorSource } from '@butterfly/weights';
import { type Step, type StepSequence, greedySampling } from '@butterfly/wire';
import type { LayerRange } from '../loading/stage-weights.js';
import type { Stage, StageFactory } from '../stage.js';
import { part, someTokens, tokenStep, type PlainStep } from './stages.js';

/** What makes stages of some kind, for a model of two layers or more. */
export interface StageWorld extends StageFactory {
  readonly spec: ModelSpec;
  openSource(): Promise<TensorSource>;
}

const arenaSlots = 1024;
const rowsMax = 64;
const profile = {
  layerCurve: [
    { rows: 1, micros: 10 },
    { rows: 64, micros: 100 },
  ],
  outputCurve: [
    { rows: 1, micros: 5 },
    { rows: 64, micros: 50 },
  ],
};
const invalid: unknown = expect.objectContaining({ code: 'COMPUTE_INVALID' });

/** What every `Stage` does; `createWorld` is called in each test. */
export function describeStage(name: string, createWorld: () => Promise<StageWorld>): void {
  /** Stages of these ranges, loaded; of all layers by default. */
  async function open(...ranges: readonly LayerRange[]): Promise<Opened> {
    const world = await createWorld();
    const { layers } = world.spec;
    await using source = await world.openSource();
    const stages: Stage[] = [];
    for (const range of ranges.length > 0 ? ranges : [{ layerStart: 0, layerEnd: layers }]) {
      const stage = create(world, range);
      await stage.load(source);
      stages.push(stage);
    }
    return { spec: world.spec, stages };
  }

  describe(`a stage of ${name}`, () => {
    it('knows where it stands, and what it takes', async () => {
      const world = await createWorld();
      const { layers } = world.spec;
      const whole = create(world, { layerStart: 0, layerEnd: layers });
      const first = create(world, { layerStart: 0, layerEnd: 1 });
      const last = create(world, { layerStart: 1, layerEnd: layers });
      const places = [whole, first, last].map(({ isFirst, isLast }) => [isFirst, isLast]);
      expect(places).toEqual([
        [true, true],
        [true, false],
        [false, true],
      ]);
      for (const one of [first, last]) {
        expect(one.arenaBytes).toBeGreaterThan(0);
        expect(one.fileBytes).toBeGreaterThan(0);
        expect(one.fileBytes).toBeLessThan(whole.fileBytes);
        expect(one.shardBytes).toBeLessThan(whole.shardBytes);
      }
      expect(first.arenaBytes + last.arenaBytes).toBe(whole.arenaBytes);
    });

    it('tells of loading up to the last byte, and ends it when what it tells throws', async () => {
      const world = await createWorld();
      await using source = await world.openSource();
      const range = { layerStart: 0, layerEnd: world.spec.layers };
      const stage = create(world, range);
      const told: number[] = [];
      await stage.load(source, (bytes) => void told.push(bytes));
      expect(told.at(-1)).toBe(stage.fileBytes);
      expect(told.toSorted((a, b) => a - b)).toEqual(told);
      const stopped = create(world, range).load(source, () => {
        throw new RangeError('enough');
      });
      await expect(stopped).rejects.toThrow('enough');
    });

    it('warms up step by step, and computes the same afterwards', async () => {
      const { spec, stages } = await open();
      const step = promptStep(someTokens(9, spec.vocabulary));
      const before = await logitsOf(stages, step);
      let steps = 0;
      for (const stage of stages) {
        const { curve } = await stage.warmUp(profile, () => {
          steps += 1;
        });
        const rows = curve.map((point) => point.rows);
        expect(rows.length).toBeGreaterThan(0);
        expect(rows.toSorted((a, b) => a - b)).toEqual(rows);
        for (const { micros } of curve) expect(micros).toBeGreaterThan(0);
        const stopped = stage.warmUp(profile, () => {
          throw new RangeError('enough');
        });
        await expect(stopped).rejects.toThrow('enough');
      }
      expect(steps).toBeGreaterThan(0);
      expect(await logitsOf(stages, step)).toEqual(before);
    });

    it('gives activations of all rows unless it is last, and the logits that are wanted there', async () => {
      const { spec, stages } = await open(...halvesOf(await createWorld()));
      const tokens = someTokens(5, spec.vocabulary);
      const wanting = promptStep(tokens, { logitRows: 2 });
      const [first, last] = await runEach(stages, wanting);
      expect(first?.activations?.length).toBe(tokens.length * spec.hidden * 4);
      expect(first?.logits).toBeNull();
      expect(last?.activations).toBeNull();
      expect(last?.logits?.length).toBe(2 * spec.vocabulary);
      expect(Number.isFinite(last?.computeMicros)).toBe(true);
      const [, silent] = await runEach(stages, promptStep(tokens, { logitRows: 0 }));
      expect(silent?.logits).toBeNull();
    });

    it('gives the same for the same step', async () => {
      const { spec, stages } = await open();
      const step = promptStep(someTokens(12, spec.vocabulary), { logitRows: 12 });
      expect(await logitsOf(stages, step)).toEqual(await logitsOf(stages, step));
    });

    it('gives the same whether one stage computes it or two', async () => {
      const whole = await open();
      const halves = await open(...halvesOf(whole));
      const tokens = someTokens(12, whole.spec.vocabulary);
      for (const step of [promptStep(tokens), decodingStep(12, 7), decodingStep(13, 8)])
        expect(await logitsOf(halves.stages, step)).toEqual(await logitsOf(whole.stages, step));
    });

    it('gives the same for a prompt in chunks as for the whole', async () => {
      const { spec, stages } = await open();
      const tokens = someTokens(20, spec.vocabulary);
      const whole = await logitsOf(stages, promptStep(tokens));
      for (const [start, end, logitRows] of [
        [0, 7, 0],
        [7, 8, 0],
        [8, 20, 1],
      ] as const) {
        const chunk = promptStep(tokens.slice(start, end), {
          regionStart: 512,
          positionStart: start,
          logitRows,
        });
        const logits = await logitsOf(stages, chunk);
        expect(logits).toEqual(logitRows === 0 ? null : whole);
      }
    });

    it('computes sequences together as each alone', async () => {
      const { spec, stages } = await open();
      const [one, two] = [someTokens(5, spec.vocabulary, 1), someTokens(9, spec.vocabulary, 2)];
      const alone = [await logitsOf(stages, promptStep(one)), await logitsOf(stages, promptStep(two))];
      const parts = [part({ rows: one.length }), part({ sequenceId: 2, regionStart: 256, rows: two.length })];
      const together = await logitsOf(stages, tokenStep(parts, [...one, ...two]));
      expect(together).toEqual(Float32Array.from(alone.flatMap((logits) => [...(logits ?? [])])));
    });

    it('copies what is cached, in the order of the copies', async () => {
      const { spec, stages } = await open(...halvesOf(await createWorld()));
      const tokens = someTokens(20, spec.vocabulary);
      await logitsOf(stages, promptStep(tokens));
      const stayed = await logitsOf(stages, decodingStep(20, 9));
      await logitsOf(stages, promptStep(someTokens(20, spec.vocabulary, 5), { regionStart: 512 }));
      const copies = [
        { fromSlot: 0, toSlot: 256, slots: 20 },
        { fromSlot: 256, toSlot: 512, slots: 12 },
        { fromSlot: 268, toSlot: 524, slots: 8 },
      ];
      expect(await logitsOf(stages, decodingStep(20, 9, 512, copies))).toEqual(stayed);
    });

    it('refuses steps that do not fit, and goes on', async () => {
      const { spec, stages } = await open();
      const [stage] = stages;
      const step = promptStep(someTokens(4, spec.vocabulary));
      const before = await logitsOf(stages, step);
      for (const change of unfit)
        expect(() => stage?.prepare({ copies: [], sequences: [part(change)] })).toThrow(invalid);
      for (const copy of unfitCopies)
        expect(() => stage?.prepare({ copies: [copy], sequences: step.sequences })).toThrow(invalid);
      expect(() => stage?.prepare({ copies: [], sequences: [] })).toThrow(invalid);
      expect(await logitsOf(stages, step)).toEqual(before);
    });

    it('refuses rows that are not those of the step', async () => {
      const { spec, stages } = await open(...halvesOf(await createWorld()));
      const step = promptStep(someTokens(4, spec.vocabulary));
      for (const stage of stages)
        for (const bytes of [0, 3, 12, 4 * 4 * spec.hidden + 4])
          await expect(stage.prepare(step)(new Uint8Array(bytes))).rejects.toThrow(invalid);
      for (const token of [-1, spec.vocabulary]) {
        const { payload } = promptStep([1, 2, 3, token]);
        await expect(stages[0]?.prepare(step)(payload)).rejects.toThrow(invalid);
      }
      expect(await logitsOf(stages, step)).not.toBeNull();
    });

    it('computes one step at a time', async () => {
      const { spec, stages } = await open();
      const [stage] = stages;
      const step = promptStep(someTokens(4, spec.vocabulary));
      const before = await logitsOf(stages, step);
      const superseded = stage?.prepare(step);
      const running = stage?.prepare(step)(step.payload);
      expect(() => stage?.prepare(step)).toThrow(invalid);
      expect(() => stage?.[Symbol.dispose]()).toThrow(invalid);
      await expect(superseded?.(step.payload)).rejects.toThrow(invalid);
      expect((await running)?.logits?.slice()).toEqual(before);
    });

    it('may be disposed twice, and computes nothing then', async () => {
      const { spec, stages } = await open();
      const [stage] = stages;
      const step = promptStep(someTokens(4, spec.vocabulary));
      const prepared = stage?.prepare(step);
      for (let time = 0; time < 2; time++) stage?.[Symbol.dispose]();
      await expect(prepared?.(step.payload)).rejects.toThrow(invalid);
      expect(() => stage?.prepare(step)).toThrow(invalid);
    });

    it('samples a token for each sequence that wants one, and for no other', async () => {
      const { spec, stages } = await open();
      const prompt = someTokens(6, spec.vocabulary);
      const parts = [
        part({ rows: 6, sampling: greedySampling }),
        part({ sequenceId: 2, regionStart: 256, rows: 6, logitRows: 0 }),
        part({ sequenceId: 3, regionStart: 512, rows: 6, sampling: greedySampling }),
      ];
      const outputs = await sampled(stages, tokenStep(parts, [...prompt, ...prompt, ...prompt]));
      expect(outputs.map(({ sequenceId }) => sequenceId)).toEqual([1, 3]);
      for (const { tokens } of outputs) {
        expect(tokens).toHaveLength(1);
        expect(tokens[0]).toBeGreaterThanOrEqual(0);
        expect(tokens[0]).toBeLessThan(spec.vocabulary);
      }
      const [first, second] = outputs.map(({ tokens }) => tokens);
      expect(second).toEqual(first);
      expect(await sampled(stages, promptStep(prompt, { logitRows: 0 }))).toEqual([]);
    });

    it('confirms guesses as far as they are right, and says one token more', async () => {
      const { spec, stages } = await open();
      const prompt = someTokens(6, spec.vocabulary);
      const said: number[] = [];
      for (let known = [...prompt]; said.length < 4; known = [...prompt, ...said]) {
        const [output] = await sampled(stages, promptStep(known, { sampling: greedySampling }));
        said.push(output?.tokens[0] ?? -1);
      }
      const wrong = (index: number): number => ((said[index] ?? 0) + 1) % spec.vocabulary;
      const right = (count: number): number[] => said.slice(0, count);
      for (const [guesses, expected] of [
        [right(3), right(4)],
        [[...right(2), wrong(2)], right(3)],
        [[wrong(0), ...said.slice(1, 3)], right(1)],
      ] as const) {
        const step = promptStep([...prompt, ...guesses], {
          logitRows: guesses.length + 1,
          draftTokens: Int32Array.from(guesses),
          sampling: greedySampling,
        });
        const [output] = await sampled(stages, step);
        expect([...(output?.tokens ?? [])]).toEqual(expected);
      }
    });
  });
}

interface Opened {
  readonly spec: ModelSpec;
  readonly stages: readonly Stage[];
}

/** Disposed when the test ends. */
function create({ spec, ...world }: StageWorld, range: LayerRange): Stage {
  const stage = world.create({
    spec,
    range,
    arenaSlots,
    cacheType: 'f16',
    rowsMax,
    // Only then are numbers the same to the last bit however they come about.
    isDeterministic: true,
  });
  onTestFinished(() => stage[Symbol.dispose]());
  return stage;
}

const halvesOf = ({ spec: { layers } }: { readonly spec: ModelSpec }): readonly LayerRange[] => [
  { layerStart: 0, layerEnd: 1 },
  { layerStart: 1, layerEnd: layers },
];

const promptStep = (tokens: readonly number[], change: Partial<StepSequence> = {}): PlainStep =>
  tokenStep([part({ rows: tokens.length, ...change })], tokens);

const decodingStep = (
  positionStart: number,
  token: number,
  regionStart = 0,
  copies: Step['copies'] = [],
): PlainStep => tokenStep([part({ regionStart, positionStart })], [token], copies);

/** What each stage gives, of its own from then on. */
async function runEach(
  stages: readonly Stage[],
  step: PlainStep,
): Promise<
  {
    readonly activations: Uint8Array | null;
    readonly logits: Float32Array | null;
    readonly computeMicros: number;
  }[]
> {
  const results = [];
  let { payload } = step;
  for (const stage of stages) {
    const { activations, logits, computeMicros } = await stage.prepare(step)(payload, step.payload);
    const result = {
      activations: activations?.slice() ?? null,
      logits: logits?.slice() ?? null,
      computeMicros,
    };
    payload = result.activations ?? payload;
    results.push(result);
  }
  return results;
}

const logitsOf = async (stages: readonly Stage[], step: PlainStep): Promise<Float32Array | null> =>
  (await runEach(stages, step)).at(-1)?.logits ?? null;

async function sampled(
  stages: readonly Stage[],
  step: PlainStep,
): Promise<readonly { readonly sequenceId: number; readonly tokens: Int32Array }[]> {
  const logits = await logitsOf(stages, step);
  const sampler = stages.at(-1)?.createSampler();
  try {
    return (await sampler?.sample(step.sequences, logits)) ?? [];
  } finally {
    sampler?.[Symbol.dispose]();
  }
}

/** Parts of sequences that no stage takes. */
const unfit: readonly Partial<StepSequence>[] = [
  { rows: 0, logitRows: 0 },
  { rows: -1 },
  { rows: 1.5 },
  { rows: rowsMax + 1 },
  { rows: 2, logitRows: 3 },
  { rows: 2, logitRows: 2, draftTokens: Int32Array.of(1, 2) },
  { regionStart: arenaSlots },
  { regionStart: 1 },
  { regionStart: -256 },
  { regionSlots: arenaSlots + 256 },
  { regionSlots: 100 },
  { positionStart: 256 },
  { positionStart: 255, rows: 2 },
  { positionStart: -1 },
];

const unfitCopies: Step['copies'] = [
  { fromSlot: 0, toSlot: arenaSlots - 1, slots: 2 },
  { fromSlot: arenaSlots - 1, toSlot: 0, slots: 2 },
  { fromSlot: -1, toSlot: 0, slots: 2 },
  { fromSlot: 0, toSlot: 0.5, slots: 2 },
  { fromSlot: 0, toSlot: 0, slots: -1 },
];
