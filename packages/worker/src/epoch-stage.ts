import {
  ButterflyError,
  encodeStep,
  encodeStepResult,
  limits,
  toButterflyError,
  type Connection,
  type Step,
} from '@butterfly/common';
import type { StageRuntime } from './stage/runtime.js';
import type { TokenSampler } from './stage/token-sampler.js';

/** Steps that may wait in a stage: the orchestrator never has more in flight than there are stages. */
const queuedStepsMax = limits.workersMax;

export interface EpochStageOptions {
  readonly epoch: number;
  readonly runtime: StageRuntime;
  /** Takes the activations of every step; null on the last stage. */
  readonly next: Connection | null;
  /** Takes the results of the last stage. */
  readonly orchestrator: Connection;
  readonly onFailure: (error: ButterflyError) => void;
}

/** One stage of one epoch at work: steps come in from a socket, one loop computes them in order and sends them on. */
export class EpochStage {
  readonly #queue: Step[] = [];
  readonly #sampler: TokenSampler | null;
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(private readonly options: EpochStageOptions) {
    this.#sampler = options.runtime.isLast ? options.runtime.createSampler() : null;
  }

  get epoch(): number {
    return this.options.epoch;
  }

  /** Takes a step; one of another epoch is dropped, because its plan is no more. */
  enqueue(step: Step): void {
    if (this.#stopped || step.epoch !== this.options.epoch) return;
    if (this.#queue.length >= queuedStepsMax)
      throw new ButterflyError('PROTOCOL_INVALID', `More than ${queuedStepsMax} steps wait in a stage.`);
    this.#queue.push(step);
    this.#running ??= this.#drain();
  }

  /** Lets the step under way end and drops the rest. The runtime stays with the caller. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#queue.length = 0;
    await this.#running;
    this.#sampler?.[Symbol.dispose]();
  }

  async #drain(): Promise<void> {
    try {
      for (let step = this.#queue.shift(); step; step = this.#queue.shift()) await this.#compute(step);
    } catch (error) {
      this.#stopped = true;
      this.options.onFailure(toButterflyError(error));
    } finally {
      this.#running = null;
    }
  }

  async #compute(step: Step): Promise<void> {
    const { runtime, next, orchestrator } = this.options;
    const result = await runtime.run(step);
    if (this.#stopped) return;
    const stageMicros = [...step.stageMicros, result.computeMicros];
    if (next && result.activations) {
      // A copy: the next step overwrites the stage's memory while this one may still wait in the socket.
      next.send(encodeStep({ ...step, stageMicros, payload: result.activations.slice() }));
      return;
    }
    const outputs = this.#sampler?.sample(step.sequences, result) ?? [];
    orchestrator.send(encodeStepResult({ epoch: step.epoch, stepId: step.stepId, outputs, stageMicros }));
  }
}
