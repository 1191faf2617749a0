import { type BatchShape, type ModelSpec, batchKey } from '@butterfly/model';
import { CompiledStep } from './compiled-step.js';
import type { StageBuilder } from './stage-builder.js';
import type { StepComputer } from './step-computer.js';

/** Graphs kept for steps of the same shape; a decoding batch changes its shape every `cacheBlockSlots` tokens. */
const compiledStepsMax = 16;

/** The graphs of a stage by the shape of their batch, the latest of them kept for as long as their memory is theirs. */
export class CompiledSteps implements Disposable {
  readonly #compiled = new Map<string, CompiledStep>();

  constructor(
    private readonly builder: Pick<StageBuilder, 'build'>,
    private readonly spec: ModelSpec,
    private readonly computer: StepComputer,
  ) {}

  /** Finds or builds the graph of a batch. @throws ButterflyError COMPUTE_FAILED, MODEL_UNSUPPORTED */
  get(batch: BatchShape): CompiledStep {
    const key = batchKey(batch);
    const known = this.#compiled.get(key);
    if (known) {
      // Moves it to the young end of the map.
      this.#compiled.delete(key);
      this.#compiled.set(key, known);
      return known;
    }
    const compiled = new CompiledStep(this.builder.build(batch), this.spec, batch);
    try {
      if (this.computer.allocate(compiled.graph)) this.#drop();
    } catch (error) {
      compiled[Symbol.dispose]();
      this.#drop();
      throw error;
    }
    const oldest =
      this.#compiled.size >= compiledStepsMax ? this.#compiled.entries().next().value : undefined;
    if (oldest) {
      oldest[1][Symbol.dispose]();
      this.#compiled.delete(oldest[0]);
    }
    compiled.bind(this.computer.isHost);
    this.#compiled.set(key, compiled);
    return compiled;
  }

  [Symbol.dispose](): void {
    this.#drop();
  }

  #drop(): void {
    for (const compiled of this.#compiled.values()) compiled[Symbol.dispose]();
    this.#compiled.clear();
  }
}
