import { ensure, silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { cacheBlockSlots, describeModel, openGguf, type ModelSpec } from '@butterfly/model';
import { LocalSource } from './loading/local-source.js';
import { StageRuntime, type StageResult } from './stage/runtime.js';

/** Rows of one step, as llama.cpp's default batch. */
const rowsMax = 512;

/** A model split into stages within this process: the stages' arithmetic without processes and sockets. */
export class SplitModel implements Disposable {
  private constructor(
    readonly spec: ModelSpec,
    private readonly stages: readonly StageRuntime[],
    private readonly slots: number,
  ) {}

  static async load(
    path: string,
    options: { readonly stages: number; readonly threads: number; readonly contextTokens: number },
  ): Promise<SplitModel> {
    const spec = describeModel(await openGguf(path));
    ensure(
      options.stages <= spec.layers,
      () => `${spec.layers} layers do not make ${options.stages} stages.`,
    );
    const slots = Math.ceil(options.contextTokens / cacheBlockSlots) * cacheBlockSlots;
    const stages: StageRuntime[] = [];
    for (let index = 0; index < options.stages; index++) {
      const bound = (i: number): number => Math.round((i * spec.layers) / options.stages);
      const range = { layerStart: bound(index), layerEnd: bound(index + 1) };
      const stage = new StageRuntime({
        ggml: loadGgml({ log: silentLogger }),
        spec,
        range,
        threads: options.threads,
        arenaSlots: slots,
        rowsMax,
      });
      stages.push(stage);
      const source = await LocalSource.open(spec.files);
      ensure(source !== null, () => `${path} cannot be read.`);
      await stage.load(source);
      await source[Symbol.asyncDispose]();
    }
    return new SplitModel(spec, stages, slots);
  }

  /** Computes tokens from `position` on; with the logits of the last one. */
  async run(tokens: readonly number[], position: number): Promise<StageResult> {
    let payload: Uint8Array = new Uint8Array(Int32Array.from(tokens).buffer);
    let result: StageResult | undefined;
    for (const stage of this.stages) {
      result = await stage.run({
        copies: [],
        sequences: [
          {
            sequenceId: 1,
            regionStart: 0,
            regionSlots: this.slots,
            positionStart: position,
            rows: tokens.length,
            logitRows: 1,
            sampling: null,
            recentTokens: new Int32Array(0),
          },
        ],
        payload,
      });
      if (result.activations) payload = result.activations.slice();
    }
    ensure(result !== undefined, () => 'A model has at least one stage.');
    return result;
  }

  /** The `count` likeliest tokens, one after the other. */
  async greedy(prompt: readonly number[], count: number): Promise<number[]> {
    const tokens: number[] = [];
    let next = prompt;
    for (let position = 0; tokens.length < count;) {
      const { greedy } = await this.run(next, position);
      position += next.length;
      const token = greedy?.[0] ?? -1;
      tokens.push(token);
      next = [token];
    }
    return tokens;
  }

  /** Logits after the prompt and after each token of the continuation, F32 [vocabulary] each. */
  async logits(prompt: readonly number[], continuation: readonly number[]): Promise<Float32Array[]> {
    const results: Float32Array[] = [];
    let position = 0;
    for (const tokens of [prompt, ...continuation.map((token) => [token])]) {
      const { logits } = await this.run(tokens, position);
      position += tokens.length;
      results.push((logits ?? new Float32Array(0)).slice());
    }
    return results;
  }

  [Symbol.dispose](): void {
    for (const stage of this.stages) stage[Symbol.dispose]();
  }
}
