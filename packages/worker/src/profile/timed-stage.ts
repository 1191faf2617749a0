import type { Ggml } from '@butterfly/ggml';
import type { ModelSpec } from '@butterfly/model';
import { type LayerRange, StageRuntime, decodingStep } from '@butterfly/stage';
import { likelyLogits, madeUpWeights } from './made-up-weights.js';

export interface TimedStageOptions {
  readonly ggml: Ggml;
  readonly spec: ModelSpec;
  readonly range: LayerRange;
  readonly threads: number;
  readonly device: string;
  /** As in `StageRequest`. */
  readonly hostExperts: number;
  readonly arenaSlots: number;
  readonly rowsMax: number;
  readonly isDeterministic: boolean;
}

/** A stage of a model's shapes whose weights are made up, to time its steps. */
export class TimedStage implements Disposable {
  readonly #stage: StageRuntime;
  readonly #sampler: ReturnType<StageRuntime['createSampler']> | null;
  readonly #likelihood: Float32Array | null;
  #steps = 0;

  private constructor(
    private readonly options: TimedStageOptions,
    stage: StageRuntime,
  ) {
    this.#stage = stage;
    this.#sampler = stage.isLast ? stage.createSampler() : null;
    this.#likelihood = stage.isLast ? likelyLogits(options.spec.vocabulary) : null;
  }

  /** @throws ButterflyError COMPUTE_FAILED when memory is short */
  static async load(options: TimedStageOptions): Promise<TimedStage> {
    const stage = new StageRuntime({ ...options, cacheType: 'f16' });
    let held: Disposable = stage;
    try {
      await stage.load(madeUpWeights);
      const timed = new TimedStage(options, stage);
      held = timed;
      // The first one meets cold memory and sleeping threads.
      await timed.micros(1);
      return timed;
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
  }

  /** Computes a step of so many rows, each of a sequence of its own, and samples where this is the last stage. */
  async micros(rows: number): Promise<number> {
    const { spec, arenaSlots, rowsMax } = this.options;
    const { payloadShape } = this.#stage;
    // Other numbers each time, so that no step finds the experts of the one before it in a cache.
    this.#steps += 1;
    const step = decodingStep(rows, { spec, payloadShape, slots: arenaSlots, rowsMax }, this.#steps);
    const { logits, computeMicros } = await this.#stage.run(step);
    if (!logits || !this.#likelihood) return Math.max(1, computeMicros);
    for (let at = 0; at < logits.length; at += spec.vocabulary) logits.set(this.#likelihood, at);
    const startedMs = performance.now();
    await this.#sampler?.sample(step.sequences, logits);
    return Math.max(1, computeMicros + (performance.now() - startedMs) * 1000);
  }

  [Symbol.dispose](): void {
    this.#sampler?.[Symbol.dispose]();
    this.#stage[Symbol.dispose]();
  }
}
