import { ButterflyError, cacheTypes } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assertPlan, planPipeline } from './planner.js';
import type { Plan, PlannerInput } from './planner.js';

const gib = 2 ** 30;

/** 16 layers of 1 GiB for three like workers that read 10 GiB/s. */
const plain: PlannerInput = {
  layerBytes: new Array<number>(16).fill(gib),
  inputBytes: gib,
  outputBytes: 2 * gib,
  cacheType: 'f16',
  kvBytesPerSlotPerLayer: 1024,
  arenaSlots: 65_536,
  overheadBytes: gib / 4,
  workers: ['a', 'b', 'c'].map((workerId) => ({
    workerId,
    memoryBytes: 16 * gib,
    weightBytesPerSecond: 10 * gib,
  })),
};

interface Score {
  readonly stages: number;
  readonly slowestMs: number;
  readonly sumMs: number;
}

/** The scores of all plans that fit. */
function everyScore(input: PlannerInput, workerIndex = 0, layerStart = 0): Score[] {
  const layers = input.layerBytes.length;
  if (layerStart === layers) return [{ stages: 0, slowestMs: 0, sumMs: 0 }];
  const worker = input.workers[workerIndex];
  if (worker === undefined) return [];
  const scores = everyScore(input, workerIndex + 1, layerStart);
  for (let layerEnd = layerStart + 1; layerEnd <= layers; layerEnd += 1) {
    const { readBytes, bytes } = needs(input, layerStart, layerEnd);
    if (bytes > worker.memoryBytes) break;
    const ms = (readBytes / worker.weightBytesPerSecond) * 1000;
    for (const { stages, slowestMs, sumMs } of everyScore(input, workerIndex + 1, layerEnd))
      scores.push({ stages: stages + 1, slowestMs: Math.max(slowestMs, ms), sumMs: sumMs + ms });
  }
  return scores;
}

function needs(
  input: PlannerInput,
  layerStart: number,
  layerEnd: number,
): { readBytes: number; bytes: number } {
  const { layerBytes, inputBytes, outputBytes, kvBytesPerSlotPerLayer, arenaSlots, overheadBytes } = input;
  let readBytes = layerEnd === layerBytes.length ? outputBytes : 0;
  for (const bytes of layerBytes.slice(layerStart, layerEnd)) readBytes += bytes;
  const kvBytes = kvBytesPerSlotPerLayer * arenaSlots * (layerEnd - layerStart);
  return { readBytes, bytes: readBytes + kvBytes + overheadBytes + (layerStart === 0 ? inputBytes : 0) };
}

function planOrError(input: PlannerInput): Plan | ButterflyError {
  try {
    return planPipeline(input);
  } catch (error) {
    if (error instanceof ButterflyError) return error;
    throw error;
  }
}

const smallInput: fc.Arbitrary<PlannerInput> = fc.record({
  layerBytes: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 7 }),
  inputBytes: fc.nat(6),
  outputBytes: fc.nat(9),
  cacheType: fc.constantFrom(...cacheTypes),
  kvBytesPerSlotPerLayer: fc.nat(2),
  arenaSlots: fc.nat(2),
  overheadBytes: fc.nat(3),
  workers: fc
    .array(fc.record({ memoryBytes: fc.nat(50), weightBytesPerSecond: fc.integer({ min: 1, max: 4 }) }), {
      minLength: 1,
      maxLength: 5,
    })
    .map((workers) => workers.map((worker, index) => ({ ...worker, workerId: `w${index}` }))),
});

describe('planPipeline', () => {
  it('gives every layer once, stays in memory, and is as good as the best of all plans', () => {
    let planned = 0;
    fc.assert(
      fc.property(smallInput, (input) => {
        const plan = planOrError(input);
        const scores = everyScore(input);
        if (plan instanceof ButterflyError) {
          expect([plan.code, scores.length]).toEqual(['MODEL_TOO_LARGE', 0]);
          return;
        }
        planned += 1;
        assertPlan(plan, input.layerBytes.length);
        const order = input.workers.map(({ workerId }) => workerId);
        const used = plan.stages.map(({ workerId }) => workerId);
        expect([...used, ...plan.leftOut.map(({ workerId }) => workerId)].sort()).toEqual([...order].sort());
        expect(used).toEqual(order.filter((id) => used.includes(id)));
        for (const { workerId, layerStart, layerEnd, bytes, predictedMs } of plan.stages) {
          const worker = input.workers.find((each) => each.workerId === workerId);
          const wanted = needs(input, layerStart, layerEnd);
          expect(bytes).toBe(wanted.bytes);
          expect(bytes).toBeLessThanOrEqual(worker?.memoryBytes ?? 0);
          expect(predictedMs).toBeCloseTo((wanted.readBytes / (worker?.weightBytesPerSecond ?? 1)) * 1000, 6);
        }
        const stages = Math.max(...scores.map((score) => score.stages));
        const full = scores.filter((score) => score.stages === stages);
        const slowestMs = Math.min(...full.map((score) => score.slowestMs));
        const sumMs = Math.min(
          ...full.filter((each) => each.slowestMs <= slowestMs + 1e-6).map((each) => each.sumMs),
        );
        expect(plan.stages).toHaveLength(stages);
        expect(Math.max(...plan.stages.map(({ predictedMs }) => predictedMs))).toBeCloseTo(slowestMs, 6);
        expect(plan.predictedStepMs).toBeCloseTo(sumMs, 6);
      }),
      { numRuns: 2000 },
    );
    expect(planned).toBeGreaterThan(500);
  });

  it('shares equal layers out equally, minding the head', () => {
    const plan = planPipeline(plain);
    expect(plan.stages.map(({ workerId, layerStart, layerEnd }) => [workerId, layerStart, layerEnd])).toEqual(
      [
        ['a', 0, 6],
        ['b', 6, 12],
        ['c', 12, 16],
      ],
    );
    expect(plan.stages[0]).toMatchObject({ bytes: 7 * gib + 6 * 2 ** 26 + gib / 4, predictedMs: 600 });
    expect(plan).toMatchObject({ predictedStepMs: 1800, leftOut: [] });
    expect(Object.isFrozen(plan) && Object.isFrozen(plan.stages) && Object.isFrozen(plan.stages[0])).toBe(
      true,
    );
  });

  it('gives the fast worker more', () => {
    const workers = plain.workers.map((each, index) => ({
      ...each,
      weightBytesPerSecond: (index + 1) * gib,
    }));
    const counts = planPipeline({ ...plain, workers }).stages.map(
      ({ layerStart, layerEnd }) => layerEnd - layerStart,
    );
    expect(counts).toEqual([3, 6, 7]);
  });

  it('leaves out who cannot hold a layer, and the slowest when there are more workers than layers', () => {
    const [a, b, c] = plain.workers;
    if (!a || !b || !c) throw new Error('three workers');
    const tiny = planPipeline({ ...plain, workers: [a, { ...b, memoryBytes: gib }, c] });
    expect(tiny.leftOut).toEqual([
      { workerId: 'b', reason: 'It offers 1.00 GiB, but even one layer with its KV cache needs 1.31 GiB.' },
    ]);
    const short = planPipeline({
      ...plain,
      layerBytes: [gib, gib],
      workers: [a, { ...b, weightBytesPerSecond: gib }, c],
    });
    expect(short.stages.map(({ workerId }) => workerId)).toEqual(['a', 'c']);
    expect(short.leftOut).toMatchObject([
      { workerId: 'b', reason: expect.stringContaining('slower') as string },
    ]);
    const noHead = planPipeline({ ...plain, workers: [a, b, { ...c, memoryBytes: 2 * gib }] });
    expect(noHead.leftOut).toMatchObject([
      { workerId: 'c', reason: expect.stringContaining('its place') as string },
    ]);
  });

  it('says what is missing when no plan fits, and what to do', () => {
    const few = planOrError({ ...plain, workers: plain.workers.slice(0, 1) });
    expect(few).toMatchObject({
      code: 'MODEL_TOO_LARGE',
      message:
        'The model needs 20.25 GiB (weights 19.00 GiB, KV cache 1.00 GiB, buffers 256.0 MiB) and 1 worker offers ' +
        '16.00 GiB. Lower --ctx, add workers or memory, or use a smaller quantisation.',
    });
    const coarse = planOrError({ ...plain, layerBytes: [30 * gib] });
    expect(coarse).toMatchObject({
      code: 'MODEL_TOO_LARGE',
      message: expect.stringContaining('in a row') as string,
    });
    expect(planOrError({ ...plain, workers: [] })).toMatchObject({ code: 'MODEL_TOO_LARGE' });
  });

  it('refuses an input that makes no sense', () => {
    for (const wrong of [
      { layerBytes: [] },
      { layerBytes: [NaN] },
      { arenaSlots: -1 },
      { workers: plain.workers.map((each) => ({ ...each, weightBytesPerSecond: 0 })) },
    ])
      expect(planOrError({ ...plain, ...wrong })).toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('plans a large cluster', () => {
    const workers = Array.from({ length: 64 }, (_, index) => ({
      workerId: `w${index}`,
      memoryBytes: (4 + (index % 5)) * gib,
      weightBytesPerSecond: (1 + (index % 7)) * gib,
    }));
    const plan = planPipeline({ ...plain, layerBytes: new Array<number>(128).fill(gib), workers });
    expect(plan.stages).toHaveLength(64);
    const crowd = Array.from({ length: 1000 }, (_, index) => ({
      ...plain.workers[0],
      workerId: `w${index}`,
      memoryBytes: 64 * gib,
      weightBytesPerSecond: (1 + (index % 7)) * gib,
    }));
    expect(
      planPipeline({ ...plain, layerBytes: new Array<number>(128).fill(gib), workers: crowd }).leftOut,
    ).toHaveLength(872);
  });
});

describe('assertPlan', () => {
  it('finds gaps, overlaps, empty stages, missing layers and repeated workers', () => {
    const plan = planPipeline(plain);
    const [a, b, c] = plan.stages;
    if (!a || !b || !c) throw new Error('three stages');
    expect(() => assertPlan(plan, 16)).not.toThrow();
    for (const stages of [
      [a, b],
      [b, c],
      [a, { ...b, layerStart: 5 }, c],
      [a, { ...b, layerEnd: 6 }, c],
      [a, b, { ...c, workerId: 'a' }],
      [],
    ])
      expect(() => assertPlan({ ...plan, stages }, 16)).toThrow(ButterflyError);
    expect(() => assertPlan({ ...plan, leftOut: [{ workerId: 'a', reason: '' }] }, 16)).toThrow(
      ButterflyError,
    );
  });
});
