import { systemClock } from '@butterfly/common';
import type { Stage } from '@butterfly/stage';
import { part } from '@butterfly/stage/testing';
import { greedySampling, tokenOfStepBefore } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { sink } from '../testing/sink.js';
import { activationsOf, epoch, noBytes, oneToken, stepOf } from '../testing/steps.js';
import { EpochStage } from './epoch-stage.js';

/** The type of a frame of activations, docs/protocol.md. */
const activationsType = 5;
/** A stage that computes nothing, and keeps the token ids that come with each step. */
function stageWith(change: Pick<Stage, 'isFirst' | 'handsOnTokens'>): {
  readonly stage: Stage;
  readonly computedWith: number[];
} {
  const computedWith: number[] = [];
  const stage: Stage = {
    isLast: false,
    shardBytes: 1,
    sharedBytes: 0,
    arenaBytes: 1,
    fileBytes: 1,
    load: () => Promise.resolve(),
    warmUp: () => Promise.resolve({ curve: [], isBatchInvariant: true }),
    prepare: () => (_, ids) => {
      computedWith.push(...new Int32Array(Uint8Array.from(ids ?? []).buffer));
      return Promise.resolve({
        activations: new Uint8Array(4),
        logits: null,
        faults: null,
        computeMicros: 1,
      });
    },
    createSampler: () => expect.unreachable('it is not the last one'),
    [Symbol.dispose]: () => undefined,
    ...change,
  };
  return { stage, computedWith };
}

/** Token ids in each frame of activations that was sent. */
function handedOn({ types, headers }: ReturnType<typeof sink>): number[][] {
  return types.flatMap((type, i) => {
    if (type !== activationsType) return [];
    const frame = headers[i] ?? noBytes;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const start = 16 + 8 * view.getUint16(12, true);
    return [Array.from({ length: view.getUint16(14, true) }, (_, id) => view.getInt32(start + 4 * id, true))];
  });
}

const open = (stage: Stage, next: ReturnType<typeof sink>): EpochStage =>
  new EpochStage({
    epoch,
    stageCount: 3,
    stage,
    next,
    orchestrator: sink(),
    clock: systemClock,
    onFailure: (error) => expect.unreachable(error.message),
  });

describe('a stage with others behind it that read tokens', () => {
  it('hands them on beside activations, sampled ones too', async () => {
    const next = sink();
    const { stage, computedWith } = stageWith({ isFirst: true, handsOnTokens: true });
    const first = open(stage, next);
    first.enqueue(stepOf(1, { payload: oneToken(5), sequences: [part({ sampling: greedySampling })] }));
    first.enqueue(stepOf(2, { payload: oneToken(tokenOfStepBefore(1)) }));
    await next.count(3);
    const outputs = [{ sequenceId: 1, tokens: Int32Array.of(9) }];
    first.learn({ epoch, stepId: 1, outputs, stageTimes: [] });
    await next.count(4);
    expect(handedOn(next)).toEqual([[5], [9]]);
    expect(computedWith).toEqual([5, 9]);
    await first.stop();
  });

  it('hands on what it was handed, and computes with it', async () => {
    const next = sink();
    const { stage, computedWith } = stageWith({ isFirst: false, handsOnTokens: true });
    const middle = open(stage, next);
    middle.enqueue(stepOf(1));
    middle.receive(activationsOf(1, 1, { tokens: oneToken(6) }));
    await next.count(2);
    expect(computedWith).toEqual([6]);
    expect(handedOn(next)).toEqual([[6]]);
    await middle.stop();
  });

  it('hands none on where none behind it reads them', async () => {
    const next = sink();
    const { stage } = stageWith({ isFirst: true, handsOnTokens: false });
    const first = open(stage, next);
    first.enqueue(stepOf(1, { payload: oneToken(5) }));
    await next.count(2);
    expect(handedOn(next)).toEqual([[]]);
    await first.stop();
  });
});
