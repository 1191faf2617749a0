import { ButterflyError, limits } from '@butterfly/common';
import {
  type Activations,
  type StepResult,
  type StepSequence,
  encodeActivations,
  encodeStep,
  type Outlet,
} from '@butterfly/wire';
import type { Audit, AuditedStage, FollowedStep } from './audit.js';
import { comparedLogprobs, type Tolerance } from './comparison.js';

/** Steps that one is asked for at once: enough to be never idle, and few to take back. */
const askedMax = 8;
/** Tokens that may be chosen otherwise for being close, however few there were: and of many, this share. */
const closeTokensMin = 3;
const closeShareMax = 0.1;

const noBytes = new Uint8Array(0);

interface Asked {
  readonly stepId: number;
  readonly audit: Audit;
  readonly step: FollowedStep;
}

/** Who computes a second time. */
interface Verifier {
  readonly workerId: string;
  readonly channel: Outlet;
}

/** A worker that computes the steps of a stage a second time, as the only stage of an epoch of its own. */
export class Auditor {
  isReady = false;
  /** Since when it owes something; Infinity while it does not. */
  owesSinceMs: number;
  readonly #asked: Asked[] = [];
  #nextStepId = 0;
  #tokens = 0;
  #closeTokens = 0;

  constructor(
    readonly epoch: number,
    readonly worker: Verifier,
    readonly stage: AuditedStage,
    /** Between it and the worker whose stage that is. */
    readonly tolerance: Tolerance,
    nowMs: number,
  ) {
    this.owesSinceMs = nowMs;
  }

  /** Says that it may be asked. */
  begin(): void {
    this.isReady = true;
    this.owesSinceMs = Infinity;
  }

  /** Sends what is known of a sequence, as far as it may be asked for more. */
  ask(audit: Audit, nowMs: number): void {
    while (this.isReady && this.#asked.length < askedMax) {
      const step = audit.take();
      if (!step) return;
      const stepId = this.#nextStepId;
      this.#nextStepId += 1;
      if (this.#asked.length === 0) this.owesSinceMs = nowMs;
      this.#asked.push({ stepId, audit, step });
      for (const frame of this.#frames(stepId, step)) this.worker.channel.send(frame);
    }
  }

  /**
   * Takes what it computed, and gives of whom that is.
   * @throws ButterflyError PROTOCOL_INVALID for what it was not asked for
   */
  receive(answer: Activations | StepResult, nowMs: number): Audit {
    const asked = this.#asked.shift();
    if (asked?.stepId !== answer.stepId)
      throw new ButterflyError('PROTOCOL_INVALID', `Step ${answer.stepId} was computed out of order.`);
    this.owesSinceMs = this.#asked.length === 0 ? Infinity : nowMs;
    const computed = 'outputs' in answer ? { output: answer.outputs[0] } : answer.payload;
    asked.audit.computed(asked.step, computed);
    return asked.audit;
  }

  /** Counts tokens that were compared, and says whether too many were close. */
  isDrifting(tokens: number, isClose: boolean): boolean {
    this.#tokens += tokens;
    if (isClose) this.#closeTokens += 1;
    return this.#closeTokens > Math.max(closeTokensMin, closeShareMax * this.#tokens);
  }

  #frames(stepId: number, { sequence, copies, tokens, input }: FollowedStep): Uint8Array[][] {
    const { epoch, stage } = this;
    const ids = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
    const sequences = [stage.isLast ? told(sequence) : sequence];
    const step = { epoch, stepId, copies, sequences, stageTimes: [], payload: stage.isFirst ? ids : noBytes };
    if (stage.isFirst) return [encodeStep(step)];
    const stageTimes = Array.from({ length: Math.min(stage.index, limits.workersMax) }, () => ({
      computeMicros: 0,
      hostMicros: 0,
    }));
    const activations = { epoch, stepId, stageTimes, tokens: stage.readsTokens ? ids : noBytes };
    return [encodeStep(step), encodeActivations({ ...activations, payload: input ?? noBytes })];
  }
}

/** With what is needed to judge a token that somebody else took. */
function told(sequence: StepSequence): StepSequence {
  return sequence.sampling === null ? sequence : { ...sequence, logprobs: comparedLogprobs };
}

/** Whether the choice of a token can be judged by the log probabilities of the model alone. */
export function isComparable({ sampling, constraint }: StepSequence): boolean {
  if (sampling === null) return true;
  const { repeatPenalty, frequencyPenalty, presencePenalty, dry, logitBias } = sampling;
  const isPenalised = repeatPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
  return constraint === undefined && !isPenalised && dry === null && logitBias === null;
}
