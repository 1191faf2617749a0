import type { StepSequence } from '../frames/types.js';

/** The part of a sequence in a step: one row at position 0 of the first region, with its logits, unless told otherwise. */
export function plainSequence(change: Partial<StepSequence> = {}): StepSequence {
  return {
    sequenceId: 1,
    regionStart: 0,
    regionSlots: 256,
    positionStart: 0,
    rows: 1,
    logitRows: 1,
    sampling: null,
    draftTokens: new Int32Array(0),
    recentTokens: new Int32Array(0),
    logprobs: null,
    scored: null,
    state: null,
    window: null,
    ...change,
  };
}
