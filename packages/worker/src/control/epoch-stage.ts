import { ButterflyError, type Clock, limits, toButterflyError } from '@butterfly/common';
import { type ConstraintHost, SequenceMasks } from '@butterfly/constraint';
import {
  type FaultOrigin,
  type ComputeStep,
  type Stage,
  type StageFaults,
  type StageResult,
  type StageSampler,
  embeddingOutputs,
  faultySequences,
  wantsEmbeddings,
} from '@butterfly/stage';
import {
  type Activations,
  type Outlet,
  type StageTime,
  type Step,
  type StepResult,
  encodeActivations,
  encodeStep,
  encodeStepResult,
} from '@butterfly/wire';
import type { ComputeTurns } from './compute-turns.js';
import { SampledTokens } from './sampled-tokens.js';
import { type WitnessWish, witnessedFrames } from './witness.js';

/** Steps that may wait in a stage: the orchestrator has one in flight for each stage, and one ahead of its tokens. */
const queuedStepsMax = limits.workersMax + 1;

export interface EpochStageOptions {
  readonly epoch: number;
  readonly stage: Stage;
  /** How many the pipeline has. */
  readonly stageCount: number;
  /**
   * Takes every step and its activations: a link, or the orchestrator that relays them. On the last stage a link to the
   * first one, which takes the results, or null.
   */
  readonly next: Pick<Outlet, 'send'> | null;
  /** Takes the results of the last stage, too. */
  readonly orchestrator: Pick<Outlet, 'send'>;
  /** What the last stage holds answers to; without it no sequence may have a constraint. */
  readonly constraints?: ConstraintHost;
  /** Which it shares with stages of other models; by default with none. */
  readonly turns?: ComputeTurns;
  readonly clock: Clock;
  readonly onFailure: (error: ButterflyError) => void;
  /** Told of each sequence whose numbers became NaN or infinite in the layers of this stage. */
  readonly onFault?: (sequenceId: number) => void;
  /** Told of each step that comes, and of each that is done. */
  readonly onStep?: () => void;
}

const noBytes = new Uint8Array(0);

/** What a stage computes a step of, once it is here. */
interface Inputs {
  /** Token ids on the first stage, else activations. */
  readonly payload: Uint8Array;
  /** Token ids of all rows, wherever the stage before sent them, and on the first stage; else empty. */
  readonly tokens: Uint8Array;
}

/** A step that has arrived, with or without its inputs. */
interface Waiting extends Inputs {
  readonly step: Step;
  /** Times of the stages before; null until their activations are here. */
  stageTimes: readonly StageTime[] | null;
  payload: Uint8Array;
  tokens: Uint8Array;
}

/** A step that this stage is done with. */
interface Computed {
  readonly step: Step;
  readonly activations: Uint8Array | null;
  readonly tokens: Uint8Array;
  readonly outputs: StepResult['outputs'];
  readonly stageTimes: readonly StageTime[];
}

/**
 * One stage of one epoch at work: steps come in from a socket, one loop computes them in order and sends them on. A
 * step travels ahead of its activations, so that all but the arithmetic is done when they arrive.
 */
export class EpochStage {
  readonly #queue: Waiting[] = [];
  readonly #masks: SequenceMasks | null;
  readonly #sampler: StageSampler | null;
  /** Whether this stage is the whole model. */
  readonly #isWhole: boolean;
  /** Of the first stage. */
  readonly #sampled: SampledTokens;
  #compute: ComputeStep | null = null;
  /** Of which sequences the orchestrator wants to hear what crosses. */
  #witness: WitnessWish = { received: [], sent: [] };
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(private readonly options: EpochStageOptions) {
    this.#isWhole = options.stage.isFirst && options.stage.isLast;
    this.#sampled = new SampledTokens(options.stageCount);
    const { stage, constraints } = options;
    this.#masks = stage.isLast && constraints ? new SequenceMasks(constraints) : null;
    this.#sampler = stage.isLast ? stage.createSampler(this.#masks ?? undefined) : null;
  }

  /** From now on tells the orchestrator what crosses of these sequences. */
  witness(wish: WitnessWish): void {
    this.#witness = wish;
  }

  /** Takes a step, on the first stage with its tokens; one of another epoch is dropped, because its plan is no more. */
  enqueue(step: Step): void {
    if (this.#stopped || step.epoch !== this.options.epoch) return;
    if (this.#queue.length >= queuedStepsMax)
      throw new ButterflyError('PROTOCOL_INVALID', `More than ${queuedStepsMax} steps wait in a stage.`);
    const { isFirst } = this.options.stage;
    const { stageTimes, payload } = step;
    this.#queue.push({ step, stageTimes: isFirst ? stageTimes : null, payload, tokens: noBytes });
    this.#proceed();
    this.#announce(step);
    this.options.onStep?.();
  }

  /** Sends a step ahead: while this stage computes, the next one prepares. */
  #announce(step: Step): void {
    const { stage, next } = this.options;
    if (!this.#stopped && !stage.isLast) next?.send(encodeStep({ ...step, payload: noBytes }));
  }

  /**
   * Takes the activations of the oldest step that lacks them.
   * @throws ButterflyError PROTOCOL_INVALID for any other
   */
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
    waiting.tokens = activations.tokens;
    this.#proceed();
    this.#testify(waiting.step, 'received', activations.payload);
  }

  /**
   * Takes what the last stage sampled, for steps that went ahead of it.
   * @throws ButterflyError PROTOCOL_INVALID out of order, or on another stage than the first of several
   */
  learn(result: StepResult): void {
    if (this.#stopped || result.epoch !== this.options.epoch) return;
    if (this.#isWhole || !this.options.stage.isFirst)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        'Results came to a stage that is not the first of several.',
      );
    this.#sampled.came(result);
    this.#proceed();
  }

  /** Lets the step under way end and drops the rest. The stage itself stays with the caller. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#queue.length = 0;
    await this.#running;
    this.#sampler?.[Symbol.dispose]();
    this.#masks?.[Symbol.dispose]();
  }

  /** Prepares the oldest step, and computes it once its activations, or its tokens, are here. */
  #proceed(): void {
    const head = this.#queue[0];
    if (this.#stopped || this.#running || !head) return;
    const startedMs = this.options.clock.nowMs();
    let inputs: Inputs | null;
    try {
      this.#compute ??= this.options.stage.prepare(head.step);
      inputs = this.#inputsOf(head);
    } catch (error) {
      this.#fail(error);
      return;
    }
    const { stageTimes } = head;
    if (stageTimes === null || inputs === null) return;
    try {
      // All steps before are sampled: masks that are not under way are computed beside this one.
      this.#masks?.begin(head.step.sequences);
    } catch (error) {
      this.#fail(error);
      return;
    }
    const compute = this.#compute;
    this.#compute = null;
    this.#queue.shift();
    const { payload, tokens } = inputs;
    const { step } = head;
    this.#running = this.#run({ step, tokens, stageTimes }, startedMs, () => compute(payload, tokens)).catch(
      (error: unknown) => {
        this.#running = null;
        this.#fail(error);
      },
    );
  }

  async #run(
    { step, tokens, stageTimes: before }: Pick<Computed, 'step' | 'tokens' | 'stageTimes'>,
    startedMs: number,
    compute: () => Promise<StageResult>,
  ): Promise<void> {
    const { activations, faults, computeMicros, outputs } = await this.#inTurn(step, compute);
    this.#tellFaults(step, faults, outputs);
    const hostMicros = Math.max(0, (this.options.clock.nowMs() - startedMs) * 1000 - computeMicros);
    const stageTimes = [...before, { computeMicros, hostMicros }];
    this.#running = null;
    if (this.#isWhole) {
      if (samples(step)) this.#sampled.came({ stepId: step.stepId, outputs });
      // The step that went ahead computes while this one is on its way; elsewhere another stage waits for it.
      this.#proceed();
    }
    this.#send({ step, activations, tokens, outputs, stageTimes });
    if (!this.#isWhole) this.#proceed();
    this.options.onStep?.();
  }

  /** The graph and, on the last stage, what is made of its numbers. */
  async #inTurn(
    step: Step,
    compute: () => Promise<StageResult>,
  ): Promise<Pick<StageResult, 'activations' | 'faults' | 'computeMicros'> & Pick<Computed, 'outputs'>> {
    using _turn = await this.options.turns?.take();
    const { activations, logits, vectors = [], faults, computeMicros, guess } = await compute();
    if (!wantsEmbeddings(step)) {
      const sampled = (await this.#sampler?.sample(step.sequences, logits, faults)) ?? [];
      const { outputs } = guess ? await guess(sampled) : { outputs: sampled };
      return { activations, faults, computeMicros, outputs };
    }
    const outputs = this.options.stage.isLast ? embeddingOutputs(step.sequences, vectors, faults) : [];
    return { activations, faults, computeMicros, outputs };
  }

  /** Null on the first stage while some tokens are yet to be sampled. */
  #inputsOf({ step, payload, tokens: ids }: Waiting): Inputs | null {
    if (!this.options.stage.isFirst) return { payload, tokens: ids };
    const tokens = this.#sampled.resolve({ ...step, payload });
    // Here all steps before are done, so none will bring them.
    if (tokens === null && this.#isWhole)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `Step ${step.stepId} awaits tokens of a step that never was.`,
      );
    return tokens && { payload: tokens, tokens };
  }

  /** Those that came faulty from the stage before were told of there. */
  #tellFaults(step: Step, faults: StageFaults | null, outputs: StepResult['outputs']): void {
    const failed = outputs
      .filter(({ tokens, scored, vector }) => tokens.length === 0 && !scored && !vector)
      .map(({ sequenceId }) => sequenceId);
    if (!faults && failed.length === 0) return;
    const origins = new Map<number, FaultOrigin>(failed.map((sequenceId) => [sequenceId, 'here']));
    if (faults)
      for (const [sequenceId, origin] of faultySequences(step.sequences, faults))
        origins.set(sequenceId, origin);
    for (const [sequenceId, origin] of origins) if (origin === 'here') this.options.onFault?.(sequenceId);
  }

  /** Behind all that others wait for. */
  #testify(step: Step, side: keyof WitnessWish, payload: Uint8Array): void {
    if (this.#witness[side].length === 0) return;
    for (const frame of witnessedFrames(step, side, payload, this.#witness[side]))
      this.options.orchestrator.send(frame);
  }

  #fail(error: unknown): void {
    this.#stopped = true;
    this.options.onFailure(toButterflyError(error));
  }

  #send({ step, activations, tokens: ids, outputs, stageTimes }: Computed): void {
    if (this.#stopped) return;
    const { next, orchestrator, stage } = this.options;
    const { epoch, stepId } = step;
    if (activations) {
      const tokens = stage.handsOnTokens ? ids : noBytes;
      next?.send(encodeActivations({ epoch, stepId, stageTimes, tokens, payload: activations }));
      this.#testify(step, 'sent', activations);
      return;
    }
    // The first stage may go on with these tokens at once; of what is told of them it has no use.
    if (next && samples(step))
      next.send(encodeStepResult({ epoch, stepId, outputs: tokensOf(outputs), stageTimes }));
    orchestrator.send(encodeStepResult({ epoch, stepId, outputs, stageTimes }));
  }
}

function tokensOf(outputs: StepResult['outputs']): StepResult['outputs'] {
  return outputs.map(({ sequenceId, tokens }) => ({ sequenceId, tokens }));
}

/** Whether tokens come of a step; what failed in the midst of a prompt is for the orchestrator alone. */
function samples({ sequences }: Step): boolean {
  return sequences.some(({ sampling }) => sampling !== null);
}
