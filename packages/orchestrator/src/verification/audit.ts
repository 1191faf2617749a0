import { limits } from '@butterfly/common';
import type { PlannedStep } from '@butterfly/engine';
import type { ArenaCopy, StepOutput, StepResult, StepSequence, Witnessed } from '@butterfly/wire';

/** The stage of a plan whose work another worker does too. */
export interface AuditedStage {
  readonly index: number;
  readonly isFirst: boolean;
  readonly isLast: boolean;
  /** Whether its layers read token ids, though it is not the first. */
  readonly readsTokens: boolean;
  /** Bytes of a row that enters; 0 for the first, which takes tokens. */
  readonly inputRowBytes: number;
  /** Bytes of a row that leaves; 0 for the last. */
  readonly outputRowBytes: number;
}

/** What one step does of the sequence, and what is known of how the stage did it. */
export interface FollowedStep {
  readonly stepId: number;
  readonly sequence: StepSequence;
  /** Of all steps since the last one of the sequence that move what it has cached, in their order. */
  readonly copies: readonly ArenaCopy[];
  /** Int32[rows]; a first one below 0 stands for what an earlier step sampled. */
  tokens: Int32Array;
  /** F32[rows, width] that came from the stage before; null while it is not known, and for the first stage. */
  input: Uint8Array | null;
  /** What the stage gave: F32[rows, width], or of the last one its output; null while it is not known. */
  told: Uint8Array | { readonly output: StepOutput | undefined } | null;
  /** The same of the other worker. */
  computed: FollowedStep['told'];
}

/**
 * One sequence followed through one stage from its first row on, so that another worker can do the same steps from what
 * entered the stage, and be compared with what left it. A pure table of its steps: everything comes in as calls.
 */
export class Audit {
  /** Those that are not compared yet, oldest first. */
  readonly #steps: FollowedStep[] = [];
  /** Of those, how many the other worker was asked for. */
  #asked = 0;
  /** Last tokens by the step that sampled them, oldest first; no step reaches further back than there are stages. */
  readonly #sampled = new Map<number, number>();
  #copies: ArenaCopy[] = [];
  /** Where that lies which the sequence has cached, as the copies so far have it. */
  #places: { readonly start: number; readonly end: number }[] = [];
  /** Bytes that wait here. */
  pendingBytes = 0;

  constructor(
    readonly sequenceId: number,
    readonly stage: AuditedStage,
  ) {}

  get pendingSteps(): number {
    return this.#steps.length;
  }

  /** A step goes out, whether or not the sequence is in it. False where it can be followed no longer. */
  sent({ stepId, copies, sequences, tokens }: PlannedStep): boolean {
    this.#follow(copies);
    let offset = 0;
    for (const sequence of sequences) {
      const end = offset + sequence.rows;
      if (sequence.sequenceId === this.sequenceId) {
        this.#add(stepId, sequence, tokens.slice(offset, end));
        break;
      }
      offset = end;
    }
    return this.#steps.length <= limits.verifiedStepsMax && this.#copies.length <= limits.stepCopiesMax;
  }

  /** What crossed before or behind the stage. False for what is of the wrong size. */
  witnessed({ stepId, payload }: Pick<Witnessed, 'stepId' | 'payload'>, side: 'input' | 'told'): boolean {
    const step = this.#steps.find((each) => each.stepId === stepId);
    if (step?.[side] !== null) return true;
    const { inputRowBytes, outputRowBytes } = this.stage;
    const rowBytes = side === 'input' ? inputRowBytes : outputRowBytes;
    if (payload.length !== step.sequence.rows * rowBytes) return false;
    step[side] = payload;
    this.pendingBytes += payload.length;
    return true;
  }

  /** What the last stage gave for a step. */
  result({ stepId, outputs }: Pick<StepResult, 'stepId' | 'outputs'>): void {
    const output = outputs.find(({ sequenceId }) => sequenceId === this.sequenceId);
    const token = output?.tokens.at(-1);
    if (token !== undefined) this.#sampled.set(stepId, token);
    for (const oldest of this.#sampled.keys()) {
      if (this.#sampled.size <= limits.workersMax) break;
      this.#sampled.delete(oldest);
    }
    const step = this.#steps.find((each) => each.stepId === stepId);
    if (step && this.stage.isLast) step.told = { output };
  }

  /** The next step for the other worker, in order; null while something of it is not known. */
  take(): FollowedStep | null {
    const step = this.#steps[this.#asked];
    if (!step) return null;
    const { isFirst, readsTokens } = this.stage;
    if (!isFirst && step.input === null) return null;
    if ((isFirst || readsTokens) && !this.#resolve(step)) return null;
    this.#asked += 1;
    return step;
  }

  /** The other worker is done with a step. */
  computed(step: FollowedStep, computed: NonNullable<FollowedStep['computed']>): void {
    step.computed = computed;
    if (computed instanceof Uint8Array) this.pendingBytes += computed.length;
  }

  /** The oldest step of which both sides are known, which is then forgotten; null while there is none. */
  settled(): FollowedStep | null {
    const [step] = this.#steps;
    if (!step?.told || !step.computed) return null;
    this.#steps.shift();
    this.#asked -= 1;
    for (const bytes of [step.input, step.told, step.computed])
      if (bytes instanceof Uint8Array) this.pendingBytes -= bytes.length;
    return step;
  }

  #add(stepId: number, sequence: StepSequence, tokens: Int32Array): void {
    const copies = this.#copies;
    this.#copies = [];
    this.#places = [{ start: sequence.regionStart, end: sequence.regionStart + sequence.regionSlots }];
    this.#steps.push({ stepId, sequence, copies, tokens, input: null, told: null, computed: null });
  }

  /** Keeps those copies that move what the sequence has cached, or has moved since. */
  #follow(copies: readonly ArenaCopy[]): void {
    for (const copy of copies) {
      const { fromSlot, toSlot, slots } = copy;
      const isOurs = this.#places.some(({ start, end }) => fromSlot < end && fromSlot + slots > start);
      if (!isOurs) continue;
      this.#copies.push(copy);
      this.#places.push({ start: toSlot, end: toSlot + slots });
    }
  }

  /** False while its first token is yet to be sampled. */
  #resolve(step: FollowedStep): boolean {
    const [first = 0] = step.tokens;
    if (first >= 0) return true;
    const token = this.#sampled.get(step.stepId + first);
    if (token === undefined) return false;
    step.tokens = Int32Array.from(step.tokens);
    step.tokens[0] = token;
    return true;
  }
}
