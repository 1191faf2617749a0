import { ButterflyError, systemClock } from '@butterfly/common';
import type { StageRuntime } from '@butterfly/stage';
import { describeFile, loadStage, part, trainedModel } from '@butterfly/stage/testing';
import { type Activations, decodeStepResult, greedySampling, tokenOfStepBefore } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sink } from '../testing/sink.js';
import { activationsOf, epoch, noBytes, oneToken, stepOf } from '../testing/steps.js';
import { EpochStage } from './epoch-stage.js';

let first: StageRuntime;
let last: StageRuntime;
let hidden = 0;

beforeAll(async () => {
  const spec = await describeFile(trainedModel);
  ({ hidden } = spec);
  first = await loadStage(spec, { range: { layerStart: 0, layerEnd: 2 } });
  last = await loadStage(spec, { range: { layerStart: 2, layerEnd: spec.layers } });
});

afterAll(() => {
  first[Symbol.dispose]();
  last[Symbol.dispose]();
});

const activations = (stepId: number, of = epoch): Activations => activationsOf(stepId, hidden, { epoch: of });

describe('a stage of an epoch', () => {
  it('passes each step on ahead of its activations, in the order of steps', async () => {
    const next = sink();
    const stage = new EpochStage({
      epoch,
      stage: first,
      stageCount: 2,
      next,
      orchestrator: sink(),
      clock: systemClock,
      onFailure: () => undefined,
    });
    stage.enqueue(stepOf(1, { payload: oneToken(5) }));
    stage.enqueue(stepOf(2, { payload: oneToken(6) }));
    // Both steps travel on while the first is still computed.
    expect(next.types).toEqual([2, 2]);
    await next.count(4);
    expect(next.types).toEqual([2, 2, 5, 5]);
    await stage.stop();
  });

  it('waits for activations, and then gives a result for each step', async () => {
    const orchestrator = sink();
    const stage = new EpochStage({
      epoch,
      stage: last,
      stageCount: 2,
      next: null,
      orchestrator,
      clock: systemClock,
      onFailure: () => undefined,
    });
    stage.enqueue(stepOf(1));
    stage.enqueue(stepOf(2));
    expect(orchestrator.types).toEqual([]);
    stage.receive(activations(1));
    stage.receive(activations(2));
    await orchestrator.count(2);
    expect(orchestrator.types).toEqual([3, 3]);
    await stage.stop();
  });

  it('tells what each stage did, and what was sampled', async () => {
    const orchestrator = sink();
    const options = {
      epoch,
      stageCount: 2,
      next: null,
      orchestrator,
      clock: systemClock,
      onFailure: () => undefined,
    };
    const stage = new EpochStage({ ...options, stage: last });
    const guessing = { rows: 3, logitRows: 3, draftTokens: Int32Array.of(1, 2), sampling: greedySampling };
    stage.enqueue(stepOf(1, { sequences: [part({ sequenceId: 9 }), part({ sequenceId: 8, ...guessing })] }));
    stage.receive({ ...activations(1), payload: new Uint8Array(4 * hidden * 4) });
    await orchestrator.count(1);
    const [header = noBytes] = orchestrator.headers;
    const { outputs, stageTimes } = decodeStepResult({ type: 'result', header, payload: noBytes });
    expect(outputs.map(({ sequenceId }) => sequenceId)).toEqual([8]);
    expect([1, 2, 3]).toContain(outputs[0]?.tokens.length);
    expect(stageTimes).toHaveLength(2);
    expect(stageTimes[0]).toEqual({ computeMicros: 1, hostMicros: 1 });
    expect(stageTimes[1]?.computeMicros).toBeGreaterThan(0);
    expect(stageTimes[1]?.hostMicros).toBeGreaterThan(0);
    await stage.stop();
  });

  it('computes a step that went ahead with the token that the step before sampled', async () => {
    using whole = await loadStage(await describeFile(trainedModel), {});
    const sampledBy = async (second: (first: number) => number): Promise<number[]> => {
      const orchestrator = sink();
      const stage = new EpochStage({
        epoch,
        stage: whole,
        stageCount: 1,
        next: null,
        orchestrator,
        clock: systemClock,
        onFailure: (error) => expect.unreachable(error.message),
      });
      const sampled = (): number[] =>
        orchestrator.headers.map(
          (header) =>
            decodeStepResult({ type: 'result', header, payload: noBytes }).outputs[0]?.tokens[0] ?? -1,
        );
      const sampling = greedySampling;
      stage.enqueue(stepOf(1, { payload: oneToken(5), sequences: [part({ sampling })] }));
      const isAhead = second(0) === tokenOfStepBefore(1);
      if (!isAhead) await orchestrator.count(1);
      const payload = oneToken(second(sampled()[0] ?? 0));
      stage.enqueue(stepOf(2, { payload, sequences: [part({ sampling, positionStart: 1 })] }));
      await orchestrator.count(2);
      await stage.stop();
      return sampled();
    };
    const inTurn = await sampledBy((first) => first);
    expect(await sampledBy(() => tokenOfStepBefore(1))).toEqual(inTurn);
    expect(inTurn[0]).not.toBe(5);
  });

  it('refuses a step that went ahead of nothing', async () => {
    using whole = await loadStage(await describeFile(trainedModel), {});
    const failure = new Promise<ButterflyError>((resolve) => {
      const stage = new EpochStage({
        epoch,
        stage: whole,
        stageCount: 1,
        next: null,
        orchestrator: sink(),
        clock: systemClock,
        onFailure: resolve,
      });
      stage.enqueue(stepOf(1, { payload: oneToken(tokenOfStepBefore(1)) }));
    });
    expect((await failure).code).toBe('PROTOCOL_INVALID');
  });

  it('lets the first of several begin with the tokens that the last one sampled, as soon as they come', async () => {
    const next = sink();
    const stage = new EpochStage({
      epoch,
      stageCount: 2,
      stage: first,
      next,
      orchestrator: sink(),
      clock: systemClock,
      onFailure: (error) => expect.unreachable(error.message),
    });
    const sampling = greedySampling;
    stage.enqueue(stepOf(1, { payload: oneToken(5), sequences: [part({ sampling })] }));
    const ahead = {
      payload: oneToken(tokenOfStepBefore(1)),
      sequences: [part({ sampling, positionStart: 1 })],
    };
    stage.enqueue(stepOf(2, ahead));
    // The step itself is announced, and only its activations wait.
    await next.count(3);
    expect(next.types).toEqual([2, 2, 5]);
    const result = {
      epoch,
      stepId: 1,
      outputs: [{ sequenceId: 1, tokens: Int32Array.of(9) }],
      stageTimes: [],
    };
    stage.learn({ ...result, epoch: 6 });
    stage.learn(result);
    await next.count(4);
    expect(next.types).toEqual([2, 2, 5, 5]);
    expect(() => stage.learn(result)).toThrow(/out of order/);
    await stage.stop();
    stage.learn(result);
  });

  it('tells the first stage what the last one sampled, and the orchestrator everything', async () => {
    const [orchestrator, ring] = [sink(), sink()];
    const stage = new EpochStage({
      epoch,
      stageCount: 2,
      stage: last,
      next: ring,
      orchestrator,
      clock: systemClock,
      onFailure: (error) => expect.unreachable(error.message),
    });
    stage.enqueue(stepOf(1));
    stage.enqueue(stepOf(2, { sequences: [part({ sampling: greedySampling })] }));
    stage.receive(activations(1));
    stage.receive(activations(2));
    await orchestrator.count(2);
    expect(orchestrator.types).toEqual([3, 3]);
    expect(ring.headers).toEqual(orchestrator.headers.slice(1));
    const unasked = { epoch, stepId: 1, outputs: [], stageTimes: [] };
    expect(() => stage.learn(unasked)).toThrow(/not the first/);
    await stage.stop();
  });

  it('tells of each step that comes, and of each that is done', async () => {
    const orchestrator = sink();
    let told = 0;
    const stage = new EpochStage({
      epoch,
      stageCount: 2,
      stage: last,
      next: null,
      orchestrator,
      clock: systemClock,
      onFailure: (error) => expect.unreachable(error.message),
      onStep: () => told++,
    });
    stage.enqueue(stepOf(1, { epoch: 6 }));
    expect(told).toBe(0);
    stage.enqueue(stepOf(1));
    expect(told).toBe(1);
    stage.receive(activations(1));
    await orchestrator.count(1);
    await stage.stop();
    expect(told).toBe(2);
  });

  it('drops what belongs to another epoch, and refuses activations out of order', async () => {
    const orchestrator = sink();
    const stage = new EpochStage({
      epoch,
      stage: last,
      stageCount: 2,
      next: null,
      orchestrator,
      clock: systemClock,
      onFailure: () => undefined,
    });
    stage.enqueue(stepOf(1, { epoch: 6 }));
    stage.receive(activations(1, 6));
    expect(() => stage.receive(activations(1))).toThrow(ButterflyError);
    stage.enqueue(stepOf(2));
    expect(() => stage.receive(activations(3))).toThrow(/out of order/);
    stage.receive(activations(2));
    await orchestrator.count(1);
    await stage.stop();
    stage.enqueue(stepOf(3));
    expect(orchestrator.types).toEqual([3]);
  });

  it('reports a step that does not fit, and does nothing more', async () => {
    const failures: ButterflyError[] = [];
    const next = sink();
    const stage = new EpochStage({
      epoch,
      stage: first,
      stageCount: 2,
      next,
      orchestrator: sink(),
      clock: systemClock,
      onFailure: (error) => failures.push(error),
    });
    stage.enqueue(stepOf(1, { payload: oneToken(5), sequences: [part({ regionStart: 100 })] }));
    stage.enqueue(stepOf(2, { payload: oneToken(5) }));
    expect(failures.map(({ code }) => code)).toEqual(['COMPUTE_INVALID']);
    expect(next.types).toEqual([]);
    await stage.stop();
  });

  it.each([0, 3])('reports a payload of the wrong size: %i bytes', async (bytes) => {
    const failure = new Promise<ButterflyError>((resolve) => {
      const stage = new EpochStage({
        epoch,
        stage: last,
        stageCount: 2,
        next: null,
        orchestrator: sink(),
        clock: systemClock,
        onFailure: resolve,
      });
      stage.enqueue(stepOf(1));
      stage.receive({ ...activations(1), payload: new Uint8Array(bytes) });
    });
    expect((await failure).code).toBe('COMPUTE_INVALID');
  });
});
