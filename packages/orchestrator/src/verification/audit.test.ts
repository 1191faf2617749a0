import { limits } from '@butterfly/common';
import type { PlannedStep } from '@butterfly/engine';
import { type ArenaCopy, type StepSequence, greedySampling, tokenOfStepBefore } from '@butterfly/wire';
import { plainSequence } from '@butterfly/wire/testing';
import { describe, expect, it } from 'vitest';
import { Audit, type AuditedStage } from './audit.js';

const middle: AuditedStage = {
  index: 1,
  isFirst: false,
  isLast: false,
  readsTokens: false,
  inputRowBytes: 8,
  outputRowBytes: 4,
};
const first: AuditedStage = { ...middle, index: 0, isFirst: true, inputRowBytes: 0 };

const rowsOf = (sequenceId: number, rows: number, changes: Partial<StepSequence> = {}): StepSequence =>
  plainSequence({ sequenceId, rows, regionStart: 256, sampling: greedySampling, ...changes });

function stepOf(
  stepId: number,
  sequences: readonly StepSequence[],
  tokens: readonly number[],
  copies: readonly ArenaCopy[] = [],
): PlannedStep {
  return { stepId, copies, sequences, tokens: Int32Array.from(tokens), verified: [7] };
}

describe('a sequence that is followed', () => {
  it('is computed again from what entered the stage, and compared with what left it', () => {
    const audit = new Audit(7, middle);
    audit.sent(stepOf(0, [rowsOf(5, 1), rowsOf(7, 2)], [1, 2, 3]));
    expect(audit.take()).toBeNull();
    const input = new Uint8Array(16);
    expect(audit.witnessed({ stepId: 0, payload: input }, 'input')).toBe(true);
    const step = audit.take();
    expect(step).toMatchObject({ stepId: 0, input, tokens: Int32Array.of(2, 3) });
    if (!step) return;
    audit.computed(step, new Uint8Array(8));
    expect(audit.settled()).toBeNull();
    audit.witnessed({ stepId: 0, payload: new Uint8Array(8) }, 'told');
    expect(audit.pendingBytes).toBe(32);
    expect(audit.settled()).toBe(step);
    expect([audit.pendingBytes, audit.pendingSteps]).toEqual([0, 0]);
  });

  it('refuses what is not as large as its rows', () => {
    const audit = new Audit(7, middle);
    audit.sent(stepOf(0, [rowsOf(7, 2)], [1, 2]));
    expect(audit.witnessed({ stepId: 0, payload: new Uint8Array(15) }, 'input')).toBe(false);
    // Of a step that nobody waits for, anything will do.
    expect(audit.witnessed({ stepId: 9, payload: new Uint8Array(15) }, 'input')).toBe(true);
  });

  it('waits for tokens that its steps went ahead of', () => {
    const audit = new Audit(7, first);
    audit.sent(stepOf(0, [rowsOf(7, 1)], [4]));
    audit.sent(stepOf(1, [rowsOf(7, 1, { positionStart: 1 })], [tokenOfStepBefore(1)]));
    expect(audit.take()?.tokens).toEqual(Int32Array.of(4));
    expect(audit.take()).toBeNull();
    audit.result({ stepId: 0, outputs: [{ sequenceId: 7, tokens: Int32Array.of(11) }] });
    expect(audit.take()?.tokens).toEqual(Int32Array.of(11));
  });

  it('takes along the copies that move what it has cached, and no others', () => {
    const audit = new Audit(7, first);
    audit.sent(stepOf(0, [rowsOf(7, 1)], [4]));
    const moved = { fromSlot: 256, toSlot: 1024, slots: 10 };
    const again = { fromSlot: 1024, toSlot: 2048, slots: 10 };
    audit.sent(stepOf(1, [rowsOf(5, 1)], [1], [{ fromSlot: 512, toSlot: 768, slots: 10 }, moved]));
    audit.sent(stepOf(2, [rowsOf(7, 1, { regionStart: 2048 })], [5], [again]));
    audit.take();
    expect(audit.take()?.copies).toEqual([moved, again]);
  });

  it('is given up when the other worker falls behind', () => {
    const audit = new Audit(7, first);
    let isFollowed = true;
    for (let stepId = 0; isFollowed; stepId++)
      isFollowed = audit.sent(stepOf(stepId, [rowsOf(7, 1, { positionStart: stepId })], [1]));
    expect(audit.pendingSteps).toBe(limits.verifiedStepsMax + 1);
  });
});
