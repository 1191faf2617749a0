import { silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { servedSpec } from '@butterfly/llama-graph';
import { type ModelSpec, cacheBlockSlots, stateSlotsOf } from '@butterfly/model';
import { StageRuntime, type StageSampler } from '@butterfly/stage';
import { LocalSource } from '@butterfly/weights';
import { type StepSequence, emptyState, firstOwnState, greedySampling } from '@butterfly/wire';
import { type BatchLoad, type BatchSpeeds, LapTimer, promptsOf, speedsOf } from './load.js';

const rowsMax = 512;
const noTokens = new Int32Array(0);

/** A whole model as one stage of this process, with its sampler: what a worker computes, without sockets. */
export class StageSide implements Disposable {
  private constructor(
    private readonly stage: StageRuntime,
    private readonly sampler: StageSampler,
    private readonly hasStates: boolean,
  ) {}

  /** With room for each of these loads. */
  static async load(spec: ModelSpec, threads: number, loads: readonly BatchLoad[]): Promise<StageSide> {
    const contextTokens = Math.max(...loads.map((load) => load.contextTokens));
    const sequences = Math.max(...loads.map((load) => load.sequences));
    const slots = Math.max(...loads.map((load) => load.sequences * load.contextTokens));
    const served = servedSpec(spec, {
      contextTokens,
      sequences,
      checkpoints: 0,
      windowCache: 'full',
      rowsMax,
    });
    const stage = new StageRuntime({
      ggml: loadGgml({ log: silentLogger }),
      spec: served,
      range: { layerStart: 0, layerEnd: spec.layers },
      threads,
      arenaSlots: Math.ceil(slots / cacheBlockSlots) * cacheBlockSlots,
      cacheType: 'f16',
      rowsMax,
    });
    await using source = await LocalSource.open(spec);
    if (!source) throw new Error(`${spec.name} cannot be read.`);
    await stage.load(source);
    return new StageSide(stage, stage.createSampler(), stateSlotsOf(served) > 0);
  }

  async run(load: BatchLoad, decodeSteps: number): Promise<BatchSpeeds> {
    const prompts = promptsOf(load);
    const timer = new LapTimer();
    let tokens = await this.#step(load, prompts, 0, 0);
    const prefill = timer.lap();
    for (let step = 0; step < decodeSteps; step++) {
      const rows = Array.from(tokens, (token) => [token]);
      tokens = await this.#step(load, rows, load.promptTokens + step, step + 1);
    }
    return speedsOf({ ...load, decodeSteps }, prefill, timer.lap());
  }

  /**
   * Milliseconds to ready steps that each have a shape of their own, unlike any before: so many sequences that decode one
   * token, or a piece of a prompt of so many rows.
   */
  timeNewShapes(kind: 'decode' | 'prompt', counts: readonly number[], load: BatchLoad): number[] {
    return counts.map((count) => {
      const rows = kind === 'decode' ? Array.from({ length: count }, () => 1) : [count];
      const sequences = rows.map((each, id) => this.#sequence(load, id, each, 0, 0));
      const startedMs = performance.now();
      this.stage.prepare({ copies: [], sequences });
      return performance.now() - startedMs;
    });
  }

  [Symbol.dispose](): void {
    this.sampler[Symbol.dispose]();
    this.stage[Symbol.dispose]();
  }

  async #step(
    load: BatchLoad,
    rows: readonly (readonly number[])[],
    position: number,
    step: number,
  ): Promise<number[]> {
    const sequences = rows.map(({ length }, id) => this.#sequence(load, id, length, position, step));
    const payload = new Uint8Array(Int32Array.from(rows.flat()).buffer);
    const { logits, faults } = await this.stage.run({ copies: [], sequences, payload });
    const outputs = await this.sampler.sample(sequences, logits, faults);
    return outputs.map(({ tokens }) => {
      const [token] = tokens;
      if (token === undefined) throw new Error('The model computes numbers that are none.');
      return token;
    });
  }

  #sequence(load: BatchLoad, id: number, rows: number, position: number, step: number): StepSequence {
    const own = firstOwnState + 2 * id;
    return {
      sequenceId: id,
      regionStart: id * load.contextTokens,
      regionSlots: load.contextTokens,
      positionStart: position,
      rows,
      logitRows: 1,
      sampling: greedySampling,
      draftTokens: noTokens,
      recentTokens: noTokens,
      logprobs: null,
      scored: null,
      // Two slots that take turns.
      state: this.hasStates
        ? { from: step === 0 ? emptyState : own + (step % 2), to: own + ((step + 1) % 2) }
        : null,
      window: null,
    };
  }
}
