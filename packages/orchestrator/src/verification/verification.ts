import { randomBytes } from 'node:crypto';
import { ButterflyError, type Clock, limits } from '@butterfly/common';
import type { EpochPlan } from '@butterfly/control';
import type { PlannedStep } from '@butterfly/engine';
import { type ModelSpec, crossingWidth, readsTokens } from '@butterfly/model';
import {
  type Activations,
  type Frame,
  type StepResult,
  type Witnessed,
  decodeActivations,
  decodeStep,
  decodeWitnessed,
  encodeControl,
} from '@butterfly/wire';
import type { ModelWorker } from '../fleet/model-worker.js';
import { kernelsOf } from '../fleet/kernel-kinds.js';
import type { VerificationDescription } from '../view/cluster-view.js';
import { Audit, type AuditedStage, type FollowedStep } from './audit.js';
import { Auditor, isComparable } from './auditor.js';
import { type Likeness, rowsApart, toleranceOf, tokensApart } from './comparison.js';

/** How long a step may wait for a neighbour's word or for the other worker, and a sequence for its next step. */
const auditPauseMs = 15_000;
/** How long a stage goes without an auditor after one failed. */
const failurePauseMs = 60_000;

/** Two workers computed the same and came to different numbers. */
export interface Disagreement {
  /** Whose numbers went into answers. */
  readonly worker: ModelWorker;
  /** Who computed them once more. */
  readonly verifier: ModelWorker;
  readonly layers: readonly [first: number, last: number];
  readonly words: string;
}

export interface VerificationOptions {
  /** The share of requests whose steps are computed twice: above 0, at most 1. */
  readonly rate: number;
  readonly spec: ModelSpec;
  /** By id. */
  readonly workers: ReadonlyMap<string, ModelWorker>;
  /** Whether a worker has no part in any plan, and may be asked. */
  readonly isFree: (workerId: string) => boolean;
  readonly nextEpoch: () => number;
  /** A number from 0 to below 1 that nobody can foresee. */
  readonly draw: () => number;
  readonly clock: Clock;
  readonly onDisagreement: (found: Disagreement) => void;
}

interface Running {
  readonly audit: Audit;
  readonly auditor: Auditor;
  movedMs: number;
}

/**
 * Has spare workers compute a share of the requests a second time, a stage of the live plan at a time, and compares. What
 * enters and leaves the stage comes from its neighbours in the pipeline and not from itself; it is not told.
 */
export class Verification {
  #current: EpochPlan | null = null;
  readonly #auditors = new Map<number, Auditor>();
  /** By sequence. */
  readonly #running = new Map<number, Running>();
  /** When a stage may have an auditor again after one failed. */
  readonly #pausedUntilMs = new Map<number, number>();
  readonly #counted = { sequences: 0, steps: 0, rows: 0, abandoned: 0, differenceMax: 0 };

  constructor(private readonly options: VerificationOptions) {}

  describe(): VerificationDescription {
    const stages = [...this.#auditors.values()]
      .filter(({ isReady }) => isReady)
      .map(({ stage }) => stage.index);
    let pendingSteps = 0;
    for (const { audit } of this.#running.values()) pendingSteps += audit.pendingSteps;
    return { rate: this.options.rate, stages, pendingSteps, ...this.#counted };
  }

  /** Whether the next request is to be computed twice. */
  get isWanted(): boolean {
    const isAble = [...this.#auditors.values()].some(({ isReady }) => isReady);
    return (
      isAble && this.#running.size < limits.verifiedSequencesMax && this.options.draw() < this.options.rate
    );
  }

  /** A plan is live. */
  begin(current: EpochPlan): void {
    this.#current = current;
    this.#pausedUntilMs.clear();
  }

  /** It is no more. */
  end(): void {
    for (const auditor of [...this.#auditors.values()]) this.#close(auditor);
    this.#running.clear();
    this.#current = null;
  }

  /** A worker is told to let a shard go. */
  released(workerId: string, shardId: string): void {
    for (const auditor of [...this.#auditors.values()])
      if (auditor.worker.workerId === workerId && this.#current?.shardIds[auditor.stage.index] === shardId)
        this.#close(auditor);
  }

  tick(): void {
    const nowMs = this.options.clock.nowMs();
    for (const auditor of [...this.#auditors.values()]) {
      const isGone = this.options.workers.get(auditor.worker.workerId) !== auditor.worker;
      if (isGone) this.#close(auditor);
      else if (nowMs - auditor.owesSinceMs > auditPauseMs) this.#fail(auditor, nowMs);
    }
    for (const { audit, movedMs } of [...this.#running.values()])
      if (nowMs - movedMs > auditPauseMs) this.#abandon(audit, audit.pendingSteps > 0);
    this.#open(nowMs);
  }

  /** Before a step of the live plan goes out. */
  sent(step: PlannedStep): void {
    const nowMs = this.options.clock.nowMs();
    for (const sequence of step.sequences) {
      const { sequenceId, positionStart } = sequence;
      // From its first row on, or not at all: what it has cached before is nowhere else.
      if (positionStart === 0 && step.verified.includes(sequenceId)) this.#begin(sequenceId, nowMs);
      const running = this.#running.get(sequenceId);
      if (!running) continue;
      running.movedMs = nowMs;
      if (running.audit.stage.isLast && !isComparable(sequence)) this.#abandon(running.audit, false);
    }
    for (const { audit, auditor } of [...this.#running.values()]) {
      if (!audit.sent(step)) this.#abandon(audit, true);
      else auditor.ask(audit, nowMs);
    }
  }

  /** A step of the live plan came through. */
  result(result: StepResult): void {
    for (const { audit, auditor } of [...this.#running.values()]) {
      audit.result(result);
      auditor.ask(audit, this.options.clock.nowMs());
      this.#settle(audit, auditor);
    }
  }

  /**
   * Takes what a neighbour saw, or what an auditor hands on. False for what is of the plan itself.
   * @throws ButterflyError PROTOCOL_INVALID
   */
  receive(workerId: string, frame: Frame): boolean {
    if (frame.type === 'witnessed') {
      this.#witnessed(workerId, decodeWitnessed(frame));
      return true;
    }
    if (![...this.#auditors.values()].some(({ worker }) => worker.workerId === workerId)) return false;
    // Steps are announced to whoever is next, which is nobody.
    if (frame.type !== 'activations') return this.#auditorOf(workerId, decodeStep(frame).epoch) !== null;
    return this.computed(workerId, decodeActivations(frame));
  }

  /** Takes what an auditor computed. False for what is of the plan itself. @throws ButterflyError PROTOCOL_INVALID */
  computed(workerId: string, answer: Activations | StepResult): boolean {
    const auditor = this.#auditorOf(workerId, answer.epoch);
    if (!auditor) return false;
    const nowMs = this.options.clock.nowMs();
    this.#settle(auditor.receive(answer, nowMs), auditor);
    for (const running of this.#running.values())
      if (running.auditor === auditor) auditor.ask(running.audit, nowMs);
    return true;
  }

  /** An auditor may be asked. False for a stage of a plan. */
  ready(workerId: string, epoch: number): boolean {
    const auditor = this.#auditorOf(workerId, epoch);
    auditor?.begin();
    return auditor !== null;
  }

  /** An auditor gave up. False for a stage of a plan. */
  failed(workerId: string, epoch: number): boolean {
    const auditor = this.#auditorOf(workerId, epoch);
    if (auditor) this.#fail(auditor, this.options.clock.nowMs());
    return auditor !== null;
  }

  #auditorOf(workerId: string, epoch: number): Auditor | null {
    for (const auditor of this.#auditors.values())
      if (auditor.epoch === epoch && auditor.worker.workerId === workerId) return auditor;
    return null;
  }

  /** Gives each stage of which a free worker holds a copy an auditor. */
  #open(nowMs: number): void {
    for (const [index, { workerId }] of (this.#current?.plan.stages ?? []).entries()) {
      const worker = this.options.workers.get(workerId);
      if (!worker || this.#auditors.has(index) || nowMs < (this.#pausedUntilMs.get(index) ?? 0)) continue;
      const verifier = this.#verifierOf(this.#current?.shardIds[index] ?? '');
      if (verifier) this.#assign(index, worker, verifier, nowMs);
    }
  }

  /** Of those that could, the one with the fewest stages. */
  #verifierOf(shardId: string): ModelWorker | null {
    const { workers, isFree } = this.options;
    const able = [...workers.values()].filter(
      ({ workerId, reports }) => reports.has(shardId) && isFree(workerId),
    );
    const stagesOf = (worker: ModelWorker): number =>
      [...this.#auditors.values()].filter((auditor) => auditor.worker === worker).length;
    return able.sort((a, b) => stagesOf(a) - stagesOf(b))[0] ?? null;
  }

  #assign(index: number, worker: ModelWorker, verifier: ModelWorker, nowMs: number): void {
    const { nextEpoch } = this.options;
    const shardId = this.#current?.shardIds[index] ?? '';
    const stageCount = this.#current?.plan.stages.length ?? 1;
    const following = this.#current?.plan.stages[index + 1];
    const epoch = nextEpoch();
    this.#auditors.set(
      index,
      new Auditor(
        epoch,
        verifier,
        this.#stage(index),
        toleranceOf(likenessOf(worker, verifier, shardId)),
        nowMs,
      ),
    );
    verifier.channel.send(
      encodeControl({
        kind: 'assign',
        epoch,
        shardId,
        stageIndex: index,
        stageCount,
        // All that it gives comes here.
        next: following ? { kind: 'relay', workerId: following.workerId } : null,
        isRelayed: stageCount > 1,
        linkToken: randomBytes(16).toString('hex'),
      }),
    );
  }

  #stage(index: number): AuditedStage {
    const { spec } = this.options;
    const stages = this.#current?.plan.stages ?? [];
    const { layerStart = 0, layerEnd = 0 } = stages[index] ?? {};
    const [isFirst, isLast] = [index === 0, index === stages.length - 1];
    const rowBytes = (layer: number): number => crossingWidth(spec, layer) * Float32Array.BYTES_PER_ELEMENT;
    return {
      index,
      isFirst,
      isLast,
      readsTokens: !isFirst && readsTokens(spec, layerStart, layerEnd),
      inputRowBytes: isFirst ? 0 : rowBytes(layerStart),
      outputRowBytes: isLast ? 0 : rowBytes(layerEnd),
    };
  }

  /** Chooses the stage of which a sequence is followed, and has its neighbours tell what they see. */
  #begin(sequenceId: number, nowMs: number): void {
    this.#running.delete(sequenceId);
    const able = [...this.#auditors.values()].filter(({ isReady }) => isReady);
    const auditor = able[Math.floor(this.options.draw() * able.length)];
    if (!auditor || this.#running.size >= limits.verifiedSequencesMax) return;
    this.#running.set(sequenceId, { audit: new Audit(sequenceId, auditor.stage), auditor, movedMs: nowMs });
    this.#counted.sequences += 1;
    this.#tellWitnesses(auditor.stage.index);
  }

  /** Whoever is before and behind a stage learns of which sequences to tell. */
  #tellWitnesses(index: number): void {
    const stages = this.#current?.plan.stages ?? [];
    const followed = (stage: number): number[] =>
      [...this.#running.values()]
        .filter(({ audit }) => audit.stage.index === stage)
        .map(({ audit }) => audit.sequenceId);
    for (const at of [index - 1, index + 1]) {
      const worker = this.options.workers.get(stages[at]?.workerId ?? '');
      const epoch = this.#current?.epoch;
      if (!worker || epoch === undefined) continue;
      const wish = { received: followed(at - 1), sent: followed(at + 1) };
      worker.channel.send(encodeControl({ kind: 'witness', epoch, ...wish }));
    }
  }

  #witnessed(workerId: string, witnessed: Witnessed): void {
    const running = this.#running.get(witnessed.sequenceId);
    if (!running || witnessed.epoch !== this.#current?.epoch) return;
    const { audit, auditor } = running;
    const at = audit.stage.index + (witnessed.side === 'sent' ? -1 : 1);
    if (this.#current.plan.stages[at]?.workerId !== workerId) return;
    if (!audit.witnessed(witnessed, witnessed.side === 'sent' ? 'input' : 'told'))
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        'A stage told of activations of another size than there are.',
      );
    running.movedMs = this.options.clock.nowMs();
    const waiting = [...this.#running.values()].reduce((sum, each) => sum + each.audit.pendingBytes, 0);
    if (waiting > limits.verifiedBytesMax) {
      this.#abandon(audit, true);
      return;
    }
    auditor.ask(audit, running.movedMs);
    this.#settle(audit, auditor);
  }

  #settle(audit: Audit, auditor: Auditor): void {
    const running = this.#running.get(audit.sequenceId);
    if (running?.audit !== audit) return;
    for (let step = audit.settled(); step !== null; step = audit.settled()) {
      running.movedMs = this.options.clock.nowMs();
      const words = this.#compare(step, auditor);
      if (words === null) continue;
      this.#running.delete(audit.sequenceId);
      this.#disagree(auditor, `step ${step.stepId}: ${words}`);
      return;
    }
  }

  /** What is wrong, in words; null where nothing is. */
  #compare({ sequence, told, computed }: FollowedStep, auditor: Auditor): string | null {
    const { tolerance } = auditor;
    this.#counted.steps += 1;
    this.#counted.rows += sequence.rows;
    if (told instanceof Uint8Array && computed instanceof Uint8Array) {
      const difference = rowsApart(told, computed, sequence.rows);
      if (Number.isFinite(difference))
        this.#counted.differenceMax = Math.max(this.#counted.differenceMax, difference);
      if (difference <= tolerance.activations) return null;
      return `activations differ by ${difference.toPrecision(2)} of their length, where at most ${tolerance.activations} is due to kernels`;
    }
    if (told instanceof Uint8Array || computed instanceof Uint8Array) return null;
    const verdict = tokensApart(told?.output, computed?.output, sequence, tolerance);
    if (verdict.kind === 'apart') return verdict.words;
    const isDrifting = auditor.isDrifting(verdict.tokens, verdict.kind === 'close');
    return isDrifting ? 'more tokens differ than chance explains' : null;
  }

  #disagree({ worker: { workerId }, stage }: Auditor, words: string): void {
    const planned = this.#current?.plan.stages[stage.index];
    const worker = this.options.workers.get(planned?.workerId ?? '');
    const verifier = this.options.workers.get(workerId);
    if (!planned || !worker || !verifier) return;
    const layers = [planned.layerStart, planned.layerEnd - 1] as const;
    this.options.onDisagreement({ worker, verifier, layers, words });
  }

  #abandon(audit: Audit, isCounted: boolean): void {
    if (this.#running.get(audit.sequenceId)?.audit !== audit) return;
    this.#running.delete(audit.sequenceId);
    if (isCounted) this.#counted.abandoned += 1;
    this.#tellWitnesses(audit.stage.index);
  }

  /** It does not compute what it is asked for. */
  #fail(auditor: Auditor, nowMs: number): void {
    this.#pausedUntilMs.set(auditor.stage.index, nowMs + failurePauseMs);
    this.#close(auditor);
  }

  #close(auditor: Auditor): void {
    this.#auditors.delete(auditor.stage.index);
    for (const running of [...this.#running.values()])
      if (running.auditor === auditor) this.#abandon(running.audit, running.audit.pendingSteps > 0);
    const { channel } = auditor.worker;
    if (channel.isOpen) channel.send(encodeControl({ kind: 'unassign', epoch: auditor.epoch }));
  }
}

function likenessOf(worker: ModelWorker, verifier: ModelWorker, shardId: string): Likeness {
  if (kernelsOf(worker) !== kernelsOf(verifier)) return 'unlike';
  const reports = [worker.reports.get(shardId), verifier.reports.get(shardId)];
  return reports.every((report) => report?.isBatchInvariant === true) ? 'exact' : 'alike';
}
