import { deadlines, type EventOf, type StepPart } from '@butterfly/common';
import type { StepResult } from '@butterfly/wire';
import type { PlannedStep } from './scheduler/scheduler-types.js';

/** A step that takes so many times as long as predicted hangs; and anything may take the grace. */
const stepTimesMax = 20;
const stepGraceMs = 5_000;

interface Sent {
  readonly sentMs: number;
  readonly deadlineMs: number;
  readonly parts: readonly StepPart[];
  readonly rows: number;
  readonly scheduleMicros: number;
}

/** Steps whose results have not come, oldest first, and until when they must. */
export class StepsUnderWay {
  readonly #sent = new Map<number, Sent>();

  /**
   * @param formedMs when its forming began
   * @param lapMicros predicted for it from one end of the pipeline to the other
   */
  add(step: PlannedStep, formedMs: number, nowMs: number, lapMicros: number): void {
    // Steps before it in the pipeline are paid for too: no more than there are stages.
    const lapsMs = ((1 + this.#sent.size) * lapMicros) / 1000;
    this.#sent.set(step.stepId, {
      sentMs: formedMs,
      deadlineMs: formedMs + Math.min(deadlines.stepMs, stepGraceMs + stepTimesMax * lapsMs),
      parts: step.sequences.map(({ sequenceId, positionStart, rows, draftTokens }) => {
        return { sequenceId, positionStart, rows, guesses: draftTokens.length };
      }),
      rows: step.tokens.length,
      scheduleMicros: (nowMs - formedMs) * 1000,
    });
  }

  /** What is to be told of a step whose result is there; null for one of a plan that is gone. */
  done(
    { stepId, stageTimes }: StepResult,
    replica: number,
    nowMs: number,
  ): Omit<EventOf<'stepDone'>, 'completeMicros'> | null {
    const sent = this.#sent.get(stepId);
    if (!sent) return null;
    this.#sent.delete(stepId);
    const { parts, rows, scheduleMicros, sentMs } = sent;
    const elapsedMicros = (nowMs - sentMs) * 1000;
    return {
      kind: 'stepDone',
      ...{ replica, stepId, rows, parts, elapsedMicros, stageTimes, scheduleMicros },
    };
  }

  /** How long the oldest step was waited for, if it missed its deadline; else null. */
  lateMs(nowMs: number): number | null {
    const oldest = this.#sent.values().next().value;
    return oldest && nowMs > oldest.deadlineMs ? nowMs - oldest.sentMs : null;
  }

  clear(): void {
    this.#sent.clear();
  }
}
