import { ensure, silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { type WindowCache, describeAny, servedSpec, surveyInChild } from '@butterfly/llama-graph';
import { type ModelSpec, cacheBlockSlots, joinedLayers, openGguf, windowsOf } from '@butterfly/model';
import { LocalSource } from '@butterfly/weights';
import {
  type CacheType,
  type SequenceState,
  type SequenceWindow,
  emptyState,
  firstOwnState,
  firstToKeep,
} from '@butterfly/wire';
import { largestIndex } from './sampling/blocks.js';
import { StageRuntime } from './runtime.js';
import type { StageResult } from './stage.js';

/** Rows of one step, as llama.cpp's default batch. */
const rowsMax = 512;
/** Whoever runs the stages himself may have more than one. */
const usualSequences = 8;
const noTokens = new Int32Array(0);

interface SplitOptions {
  readonly threads: number;
  readonly contextTokens: number;
  /** Slots of the arena, for whoever runs the stages himself; as many as the context has tokens by default. */
  readonly arenaSlots?: number;
  /** That have states at once; 8 by default. */
  readonly sequences?: number;
  /** F16 by default, as llama.cpp has it. */
  readonly cacheType?: CacheType;
  /** As in `StageRequest`; off by default. */
  readonly isDeterministic?: boolean;
  /** What window layers keep; the whole context by default, as other layers. */
  readonly windowCache?: WindowCache;
  /** Whether the model's own layer guesses; off by default. */
  readonly hasHead?: boolean;
  /** Of the stages in turn; the CPU for those that it has none for. */
  readonly devices?: readonly string[];
  /** As in `StageRequest`, of the stages in turn; none for those that it has none for. */
  readonly hostExperts?: readonly number[];
}

/** What follows the last token of a run. */
interface SplitResult {
  /** F32 [vocabulary]; void as soon as the next run begins. */
  readonly logits: Float32Array;
  readonly likeliest: number;
}

/** A model split into stages within this process: the stages' arithmetic without processes and sockets. */
export class SplitModel implements Disposable {
  #stateSide = 0;
  /** Position of the first token in the room of the one sequence. */
  #first = 0;

  private constructor(
    readonly spec: ModelSpec,
    readonly stages: readonly StageRuntime[],
    private readonly slots: number,
  ) {}

  static async load(path: string, options: SplitOptions & { readonly stages: number }): Promise<SplitModel> {
    const spec = await describeAny(await openGguf(path), (request) =>
      surveyInChild(request, { ggmlDirectory: undefined }),
    );
    ensure(
      options.stages <= spec.layers,
      () => `${spec.layers} layers do not make ${options.stages} stages.`,
    );
    return SplitModel.open(spec, { ...options, cuts: evenCuts(spec, options.stages) });
  }

  /** @param options.cuts layers with which stages begin, but for the first. */
  static async open(
    spec: ModelSpec,
    options: SplitOptions & { readonly cuts: readonly number[] },
  ): Promise<SplitModel> {
    const { contextTokens, arenaSlots = contextTokens, sequences = usualSequences } = options;
    const slots = Math.ceil(arenaSlots / cacheBlockSlots) * cacheBlockSlots;
    const served = servedSpec(spec, {
      contextTokens,
      sequences,
      checkpoints: 0,
      windowCache: options.windowCache ?? 'full',
      rowsMax,
      hasHead: options.hasHead ?? false,
    });
    const stages: StageRuntime[] = [];
    const bounds = [0, ...options.cuts, spec.layers];
    for (const [index, layerStart] of bounds.slice(0, -1).entries()) {
      const range = { layerStart, layerEnd: bounds[index + 1] ?? spec.layers };
      const stage = new StageRuntime({
        ggml: loadGgml({ log: silentLogger }),
        spec: served,
        range,
        device: options.devices?.[index] ?? 'cpu',
        hostExperts: options.hostExperts?.[index] ?? 0,
        threads: options.threads,
        arenaSlots: slots,
        cacheType: options.cacheType ?? 'f16',
        rowsMax,
        isDeterministic: options.isDeterministic ?? false,
      });
      stages.push(stage);
      const source = await LocalSource.open(spec);
      ensure(source !== null, () => `${spec.name} cannot be read.`);
      await stage.load(source);
      await source[Symbol.asyncDispose]();
    }
    return new SplitModel(served, stages, slots);
  }

  /** Computes tokens from `position` on: the logits of the last one, and the token with the largest. */
  async run(tokens: readonly number[], position: number): Promise<SplitResult> {
    const ids = new Uint8Array(Int32Array.from(tokens).buffer);
    let payload: Uint8Array = ids;
    let result: StageResult | undefined;
    const state = this.#state(position);
    const window = this.#window(position, position + tokens.length);
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
            draftTokens: noTokens,
            recentTokens: noTokens,
            logprobs: null,
            scored: null,
            state,
            window,
          },
        ],
        payload,
        tokens: ids,
      });
      if (result.activations) payload = result.activations.slice();
    }
    ensure(result !== undefined, () => 'A model has at least one stage.');
    const logits = result.logits ?? new Float32Array(0);
    return { logits, likeliest: largestIndex(logits) };
  }

  /** The one sequence has two slots, which take turns. */
  #state(position: number): SequenceState | null {
    const { graph } = this.spec;
    if (graph.kind !== 'imported' || graph.stateSlots === 0) return null;
    const before = this.#stateSide;
    this.#stateSide = 1 - before;
    return {
      from: position === 0 ? emptyState : firstOwnState + before,
      to: firstOwnState + this.#stateSide,
    };
  }

  /** The one sequence has one room. */
  #window(start: number, end: number): SequenceWindow | null {
    const windows = windowsOf(this.spec);
    if (windows === null) return null;
    const fromFirst = start === 0 ? 0 : this.#first;
    this.#first = firstToKeep(fromFirst, { start, end }, windows, true);
    return { from: 0, fromFirst, to: 0, toFirst: this.#first };
  }

  /** The `count` likeliest tokens, one after the other. */
  async greedy(prompt: readonly number[], count: number): Promise<number[]> {
    const tokens: number[] = [];
    let next = prompt;
    for (let position = 0; tokens.length < count;) {
      const { likeliest } = await this.run(next, position);
      position += next.length;
      tokens.push(likeliest);
      next = [likeliest];
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
      results.push(logits.slice());
    }
    return results;
  }

  [Symbol.dispose](): void {
    for (const stage of this.stages) stage[Symbol.dispose]();
  }
}

/** Layers with which stages begin that have about as many each, as far as layers can be parted. */
function evenCuts(spec: ModelSpec, stages: number): number[] {
  const joined = joinedLayers(spec);
  const free = Array.from({ length: spec.layers - 1 }, (_, i) => i + 1).filter((layer) => !joined.has(layer));
  ensure(stages <= free.length + 1, () => `Its layers make ${free.length + 1} stages at most.`);
  const cuts: number[] = [];
  for (let stage = 1; stage < stages; stage++) {
    const wanted = Math.round((stage * spec.layers) / stages);
    // So many are needed behind it.
    const left = free
      .slice(cuts.length, free.length - (stages - 1 - stage))
      .filter((layer) => layer > (cuts.at(-1) ?? 0));
    cuts.push(
      left.reduce((best, layer) => (Math.abs(layer - wanted) < Math.abs(best - wanted) ? layer : best)),
    );
  }
  return cuts;
}
