import {
  ButterflyError,
  encodeActivations,
  encodeStep,
  encodeStepResult,
  limits,
  toButterflyError,
  type Activations,
  type Connection,
  type StageTime,
  type Step,
} from '@butterfly/common';
import type { StageResult, StageRuntime } from './stage/runtime.js';
import type { TokenSampler } from './stage/token-sampler.js';

/** Steps that may wait in a stage: the orchestrator never has more in flight than there are stages. */
const queuedStepsMax = limits.workersMax;

export interface EpochStageOptions {
  readonly epoch: number;
  readonly runtime: StageRuntime;
  /** Takes the activations of every step; null on the last stage. */
  readonly next: Pick<Connection, 'send'> | null;
  /** Takes the results of the last stage. */
  readonly orchestrator: Pick<Connection, 'send'>;
  readonly onFailure: (error: ButterflyError) => void;
}

const noBytes = new Uint8Array(0);

/** A step that has arrived, with or without its payload. */
interface Waiting {
  readonly step: Step;
  /** Times of the stages before; null until their activations are here. */
  stageTimes: readonly StageTime[] | null;
  payload: Uint8Array;
}

/**
 * One stage of one epoch at work: steps come in from a socket, one loop computes them in order and sends them on. A
 * step travels ahead of its activations, so that all but the arithmetic is done when they arrive.
 */
export class EpochStage {
  readonly #queue: Waiting[] = [];
  readonly #sampler: TokenSampler | null;
  #compute: ((payload: Uint8Array) => Promise<StageResult>) | null = null;
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(private readonly options: EpochStageOptions) {
    this.#sampler = options.runtime.isLast ? options.runtime.createSampler() : null;
  }

  get epoch(): number {
    return this.options.epoch;
  }

  /** Takes a step, on the first stage with its tokens; one of another epoch is dropped, because its plan is no more. */
  enqueue(step: Step): void {
    if (this.#stopped || step.epoch !== this.options.epoch) return;
    if (this.#queue.length >= queuedStepsMax)
      throw new ButterflyError('PROTOCOL_INVALID', `More than ${queuedStepsMax} steps wait in a stage.`);
    const { isFirst } = this.options.runtime;
    this.#queue.push({ step, stageTimes: isFirst ? step.stageTimes : null, payload: step.payload });
    this.#proceed();
    this.#announce(step);
  }

  /** Sends a step ahead: while this stage computes, the next one prepares. */
  #announce(step: Step): void {
    if (!this.#stopped) this.options.next?.send(encodeStep({ ...step, payload: noBytes }));
  }

  /** Takes the activations of the oldest step that lacks them. @throws ButterflyError PROTOCOL_INVALID for any other */
  receive(activations: Activations): void {
    if (this.#stopped || activations.epoch !== this.options.epoch) return;
    const waiting = this.#queue.find(({ stageTimes }) => stageTimes === null);
    if (waiting?.step.stepId !== activations.stepId)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `Activations of step ${activations.stepId} came out of order.`,
      );
    waiting.stageTimes = activations.stageTimes;
    waiting.payload = activations.payload;
    this.#proceed();
  }

  /** Lets the step under way end and drops the rest. The runtime stays with the caller. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#queue.length = 0;
    await this.#running;
    this.#sampler?.[Symbol.dispose]();
  }

  /** Prepares the oldest step, and computes it once its activations are here. */
  #proceed(): void {
    const head = this.#queue[0];
    if (this.#stopped || this.#running || !head) return;
    const startedMs = performance.now();
    try {
      this.#compute ??= this.options.runtime.prepare(head.step);
    } catch (error) {
      this.#fail(error);
      return;
    }
    const { step, stageTimes, payload } = head;
    if (stageTimes === null) return;
    const compute = this.#compute;
    this.#compute = null;
    this.#queue.shift();
    this.#running = compute(payload)
      .then((result) => this.#sendOn(step, stageTimes, result, startedMs))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#running = null;
        this.#proceed();
      });
  }

  #fail(error: unknown): void {
    this.#stopped = true;
    this.options.onFailure(toButterflyError(error));
  }

  async #sendOn(
    { epoch, stepId, sequences }: Step,
    before: readonly StageTime[],
    { activations, logits, computeMicros }: StageResult,
    startedMs: number,
  ): Promise<void> {
    const { next, orchestrator } = this.options;
    // A copy: the next step overwrites the stage's memory while this one may still wait in the socket.
    const payload = activations?.slice();
    const outputs = (await this.#sampler?.sample(sequences, logits)) ?? [];
    if (this.#stopped) return;
    const hostMicros = Math.max(0, (performance.now() - startedMs) * 1000 - computeMicros);
    const stageTimes = [...before, { computeMicros, hostMicros }];
    if (next && payload) next.send(encodeActivations({ epoch, stepId, stageTimes, payload }));
    else orchestrator.send(encodeStepResult({ epoch, stepId, outputs, stageTimes }));
  }
}
