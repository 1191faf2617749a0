import { describe, expect, it } from 'vitest';
import { limits } from '@butterfly/common';
import { FrameDecoder } from './frame.js';
import { greedySampling } from './sampling.js';
import { decodeStep, encodeStep } from './step.js';
import type { SequenceConstraint } from './step-constraint.js';
import type { Step, StepSequence } from './types.js';

const none = new Int32Array(0);

function step(constraint: SequenceConstraint, changes: Partial<StepSequence> = {}): Step {
  const sequence: StepSequence = {
    sequenceId: 3,
    regionStart: 0,
    regionSlots: 256,
    positionStart: 9,
    rows: 1,
    logitRows: 1,
    sampling: greedySampling,
    draftTokens: none,
    recentTokens: none,
    state: null,
    window: null,
    logprobs: null,
    scored: null,
    constraint,
    ...changes,
  };
  return {
    epoch: 1,
    stepId: 2,
    copies: [],
    sequences: [sequence],
    stageTimes: [],
    payload: new Uint8Array(4),
  };
}

function sent(each: Step): Step {
  const decoder = new FrameDecoder();
  for (const part of encodeStep(each)) decoder.push(part);
  const [frame] = [...decoder.frames()];
  if (!frame) throw new Error('No frame came.');
  return decodeStep(frame);
}

describe('the constraint of a sequence', () => {
  it.each([
    ['later in its life', { id: 7, start: 4, tokens: null }],
    ['with nothing known', { id: 7, start: 10, tokens: none }],
    ['with all that is known', { id: 0xffff_ffff, start: 8, tokens: Int32Array.of(5, 6) }],
  ])('arrives as it was sent: %s', (_, constraint) => {
    expect(sent(step(constraint)).sequences[0]?.constraint).toEqual(constraint);
  });

  it.each([
    ['begins behind the known tokens', { id: 7, start: 11, tokens: null }, {}],
    ['has other tokens than are known', { id: 7, start: 8, tokens: Int32Array.of(5) }, {}],
    ['has a negative token', { id: 7, start: 9, tokens: Int32Array.of(-1) }, {}],
    ['is on what is not sampled', { id: 7, start: 4, tokens: null }, { sampling: null, logitRows: 0 }],
    [
      'has too many tokens',
      { id: 7, start: 1, tokens: new Int32Array(limits.constraintTokensMax + 1) },
      { positionStart: limits.constraintTokensMax + 1, regionSlots: 2 ** 20 },
    ],
  ])('is refused where it %s', (_, constraint, changes) => {
    expect(() => encodeStep(step(constraint, changes))).toThrow('A frame has a constraint');
  });
});
