import { ensure, limits } from '@butterfly/common';
import { type Backend, type CpuBackend, HeaderModel, type Ggml } from '@butterfly/ggml';
import { type FindWeight, HeadGraphs, checkShape, headerOf } from '@butterfly/llama-graph';
import {
  type BatchShape,
  type HeadSpec,
  type LayerCache,
  type ModelSpec,
  type StepGraph,
  evenLayout,
  plainLayout,
} from '@butterfly/model';
import type { CacheType, StepSequence } from '@butterfly/wire';
import { CompiledSteps } from '../compiled-steps.js';
import { dtypeOf } from '../kv-cache.js';
import { largestIndex, noToken } from '../sampling/blocks.js';
import type { GuessedOutputs, StageResult } from '../stage.js';
import { findIn, type LoadedWeights, type UsedWeight } from '../loading/stage-weights.js';
import { DeviceComputer } from '../step-computer.js';
import { batchShape } from '../steps/step-shape.js';
import { HeadRows, type ComputedRows, type HeadPart } from './head-rows.js';

interface GuessHeadOptions {
  readonly ggml: Ggml;
  readonly spec: ModelSpec;
  readonly head: HeadSpec;
  readonly cacheType: CacheType;
  readonly rowsMax: number;
  readonly threads: number;
}

/** Where it computes, and with what. */
interface Place {
  readonly host: CpuBackend;
  readonly computer: DeviceComputer;
  readonly compiled: CompiledSteps;
}

const noTokens = new Int32Array(0);

/**
 * The layer behind the last that predicts the token after the next one, at work in the last stage: once the tokens of a step
 * are sampled, it guesses for each sequence one token more. What it says is tried by the next step and changes nothing that is
 * said (decision 0051).
 */
export class GuessHead implements Disposable {
  readonly weights: readonly UsedWeight[];
  readonly #model: HeaderModel;
  readonly #graphs: HeadGraphs;
  readonly #rows: HeadRows;
  /** The model as if the head were all of it. */
  readonly #spec: ModelSpec;
  #at: Place | null = null;

  /** @throws ButterflyError MODEL_UNSUPPORTED, MODEL_CORRUPT */
  constructor(private readonly options: GuessHeadOptions) {
    const { ggml, spec, head, cacheType, rowsMax } = options;
    const { graph } = spec;
    ensure(graph.kind === 'imported', () => `${spec.architecture} is not imported.`);
    this.#spec = {
      ...spec,
      attention: [head.attention],
      graph: { ...graph, states: [], stateSlots: 0, windows: null, temperature: null },
    };
    this.#rows = new HeadRows(spec.hidden);
    this.#model = new HeaderModel(ggml, {
      header: headerOf(spec),
      contextTokens: graph.contextTokens,
      // Each sequence has a row for what was sampled too.
      rowsMax: rowsMax + limits.stepSequencesMax,
      cacheType: dtypeOf[cacheType],
      part: 'head',
    });
    try {
      const names = new Set(spec.tensors.map(({ name }) => name));
      this.#graphs = new HeadGraphs({ ggml, model: this.#model, attention: head.attention, names });
      this.weights = this.#graphs.weights.map(({ name, use, shape }) => {
        const source = spec.tensors.find((each) => each.name === name);
        ensure(source !== undefined, () => `The model has no tensor ${name}.`);
        checkShape(source, shape);
        return { source, use };
      });
    } catch (error) {
      this.#model[Symbol.dispose]();
      throw error;
    }
  }

  get bytes(): { readonly device: number; readonly host: number } {
    return this.#at?.computer.bytes ?? { device: 0, host: 0 };
  }

  /** Gives it the memory of the stage, once. */
  use(
    weights: LoadedWeights,
    cache: LayerCache,
    at: { readonly backend: Backend; readonly host: CpuBackend },
  ): void {
    const find: FindWeight = findIn(weights);
    const computer = new DeviceComputer(at.backend, at.backend === at.host ? null : 'of the last stage');
    const build = (batch: BatchShape): StepGraph => this.#graphs.build(batch, find, cache);
    this.#at = { host: at.host, computer, compiled: new CompiledSteps({ build }, this.#spec, computer) };
  }

  /** Takes the memory of the largest step, so that it does not grow while serving. @throws ButterflyError COMPUTE_FAILED */
  reserve(rows: number, slots: number): void {
    const tokens = Array.from({ length: rows }, () => 0);
    const region = { sequenceId: 0, regionStart: 0, regionSlots: slots, positionStart: 0 };
    this.#compiled([{ ...region, tokens, hidden: [], isWanted: true }]);
  }

  /**
   * Guesses behind a step, once it is known what was sampled; undefined where it gives no hidden states.
   * @param ids I32 of its rows, in bytes.
   */
  behind(
    sequences: readonly StepSequence[],
    ids: Uint8Array | undefined,
    hidden: Float32Array | null,
  ): StageResult['guess'] {
    if (hidden === null || !ids) return undefined;
    // What came in a frame lies anywhere in the memory of others.
    const tokens = new Int32Array(new Uint8Array(ids).buffer);
    return (outputs) => this.guess({ sequences, tokens, hidden, outputs });
  }

  /** The outputs of a step with a guess beside each sampled token, where it has one. @throws ButterflyError COMPUTE_FAILED */
  async guess(step: ComputedRows): Promise<GuessedOutputs> {
    const parts = this.#rows.next(step);
    if (parts.length === 0) return { outputs: step.outputs, logits: null };
    const at = this.#ready();
    const compiled = this.#compiled(parts);
    compiled.fill(parts.map(sequenceOf));
    const ids = Int32Array.from(parts.flatMap(({ tokens }) => tokens));
    compiled.fillSource(new Uint8Array(ids.buffer), undefined);
    compiled.fillHidden(parts.flatMap(({ hidden }) => hidden));
    compiled.push();
    at.host.useThreads(this.options.threads);
    await at.computer.compute(compiled.graph);
    compiled.pull();
    const { logits } = compiled.outputs();
    const guesses = this.#likeliest(parts, logits);
    const outputs = step.outputs.map((output) => {
      const guess = guesses.get(output.sequenceId);
      return guess === undefined ? output : { ...output, guesses: Int32Array.of(guess) };
    });
    return { outputs, logits };
  }

  /** @throws ButterflyError never */
  [Symbol.dispose](): void {
    this.#at?.compiled[Symbol.dispose]();
    this.#at?.computer[Symbol.dispose]();
    this.#at = null;
    this.#model[Symbol.dispose]();
  }

  /** Of each sequence that wants one the likeliest token, as far as its numbers are such. */
  #likeliest(parts: readonly HeadPart[], logits: Float32Array | null): ReadonlyMap<number, number> {
    const { vocabulary } = this.options.spec;
    const found = new Map<number, number>();
    let row = 0;
    for (const { sequenceId, isWanted } of parts) {
      if (!isWanted || logits === null) continue;
      const token = largestIndex(logits.subarray(row * vocabulary, (row + 1) * vocabulary));
      row += 1;
      if (token !== noToken) found.set(sequenceId, token);
    }
    return found;
  }

  #compiled(parts: readonly HeadPart[]): ReturnType<CompiledSteps['get']> {
    const { head, cacheType } = this.options;
    const layout: typeof plainLayout =
      cacheType === 'f16' && head.attention.valueSize === head.attention.keySize
        ? (rows, end) => evenLayout(rows, end, head.attention)
        : plainLayout;
    const batch = batchShape(parts.map(sequenceOf), (rows) => rows, layout, this.#spec);
    return this.#ready().compiled.get(batch);
  }

  #ready(): Place {
    ensure(this.#at !== null, () => 'Guesses were wanted before there is memory for them.');
    return this.#at;
  }
}

function sequenceOf(part: HeadPart): StepSequence {
  const { sequenceId, regionStart, regionSlots, positionStart, tokens, isWanted } = part;
  return {
    ...{ sequenceId, regionStart, regionSlots, positionStart },
    rows: tokens.length,
    logitRows: isWanted ? 1 : 0,
    ...{ sampling: null, draftTokens: noTokens, recentTokens: noTokens, logprobs: null, scored: null },
    ...{ state: null, window: null },
  };
}
