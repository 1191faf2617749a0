import { type StepTime, type WorkerObserver, ensure, limits } from '@butterfly/common';
import { type Backend, CpuBackend, type Ggml, openDevice } from '@butterfly/ggml';
import {
  type ModelSpec,
  type TimedLayers,
  cacheBlockSlots,
  crossingWidth,
  isOfExperts,
  layerKinds,
  layerOf,
  plainLayout,
  readsTokens,
  servedHead,
  timedLayers,
  windowsOf,
} from '@butterfly/model';
import type { TensorSource } from '@butterfly/weights';
import type { Step, StepSequence } from '@butterfly/wire';
import type { CompiledStep } from './compiled-step.js';
import { CompiledSteps } from './compiled-steps.js';
import { EmbeddingLookup } from './embedding-lookup.js';
import { StageFaultFinder } from './fault-finder.js';
import { GuessHead } from './head/guess-head.js';
import { KvCache } from './kv-cache.js';
import { RoomCache, isInRooms } from './room-cache.js';
import { stateArena, type StateArena } from './state-arena.js';
import { stageBuilder, type StageBuilder } from './stage-builder.js';
import type { SharedWeights } from './loading/shared-weights.js';
import { LoadedWeights, distinctUses, type UsedWeight } from './loading/stage-weights.js';
import type {
  ComputeStep,
  Stage,
  StageRequest,
  StageResult,
  StageStep,
  TokenMasks,
  WarmStage,
} from './stage.js';
import { DeviceComputer, ExpertComputer, type StepComputer } from './step-computer.js';
import { checkPayload, checkStep, type PayloadShape } from './steps/step-check.js';
import { batchShape, promptRows } from './steps/step-shape.js';
import { paddedCurve, paddedRows, stageCurve, wholeGroups, type ModelCurves } from './step-curve.js';
import { checkInvariance } from './step-measurement.js';
import { ThreadChoice } from './thread-choice.js';
import { TokenSampler } from './sampling/token-sampler.js';

export interface StageOptions extends Omit<StageRequest, 'isDeterministic'> {
  readonly ggml: Ggml;
  /** Where it computes, as in `listDevices`; the CPU by default. */
  readonly device?: string;
  /** Of the CPU, which samples also where another device computes. */
  readonly threads: number;
  /** As in `StageRequest`; off by default. */
  readonly isDeterministic?: boolean;
  /** By all stages of this process; by default with none. */
  readonly shared?: SharedWeights;
  /** Told when deterministic mode does not keep its word, and of weights that are no numbers. */
  readonly observe?: WorkerObserver;
}

/** A contiguous range of layers: its weights, its part of the KV arena, and the computation of steps. */
export class StageRuntime implements Stage {
  readonly isFirst: boolean;
  readonly isLast: boolean;
  readonly handsOnTokens: boolean;
  /** What the rows are that come to this stage. */
  readonly payloadShape: PayloadShape;
  readonly #backend: Backend;
  /** The same as `#backend` where that is the CPU. */
  readonly #host: CpuBackend;
  /** Null where token ids go into the graph themselves. */
  readonly #lookup: EmbeddingLookup | null;
  readonly #builder: StageBuilder;
  readonly #shard: LoadedWeights;
  readonly #cache: KvCache;
  readonly #rooms: RoomCache;
  readonly #states: StateArena;
  readonly #faults: StageFaultFinder;
  readonly #computer: StepComputer;
  readonly #compiled: CompiledSteps;
  /** On the last stage of a model whose own layer guesses. */
  readonly #head: GuessHead | null;
  /** Expected times of steps that are not padded; empty until then. */
  #curve: readonly StepTime[] = [];
  /** Steps with parts of prompts are filled to whole groups of so many rows. */
  #rowGroup = 1;
  /** Null until it is warm, and where it always computes with all threads. */
  #threads: ThreadChoice | null = null;
  #isRunning = false;
  #isDisposed = false;
  /** Counts prepared steps: inputs share memory, so only the latest may be computed. */
  #prepared = 0;

  /** Allocates; `load` must run before the first step. @throws ButterflyError COMPUTE_FAILED when memory is short */
  constructor(private readonly options: StageOptions) {
    const { ggml, spec, range, threads, arenaSlots, cacheType, rowsMax, shared, device = 'cpu' } = options;
    ensure(
      arenaSlots > 0 && arenaSlots % cacheBlockSlots === 0,
      () => `An arena of ${arenaSlots} slots is not whole blocks of ${cacheBlockSlots}.`,
    );
    ensure(
      Number.isInteger(rowsMax) && rowsMax > 0 && rowsMax <= limits.stepRowsMax,
      () => `Steps of ${rowsMax} rows are out of bounds.`,
    );
    this.isFirst = range.layerStart === 0;
    this.isLast = range.layerEnd === spec.layers;
    this.handsOnTokens = readsTokens(spec, range.layerEnd, spec.layers);
    this.payloadShape = {
      isFirst: this.isFirst,
      width: this.isFirst ? 1 : crossingWidth(spec, range.layerStart),
      vocabulary: spec.vocabulary,
      readsTokens: !this.isFirst && readsTokens(spec, range.layerStart, range.layerEnd),
    };
    const made: Disposable[] = [];
    const keep = <T extends Disposable>(resource: T): T => {
      made.unshift(resource);
      return resource;
    };
    try {
      this.#host = keep(new CpuBackend(ggml, threads));
      if (options.isDeterministic) this.#host.setReferenceKernels(true);
      const isOnHost = device === 'cpu';
      this.#backend = isOnHost ? this.#host : keep(openDevice(ggml, device, threads));
      this.#lookup = this.isFirst && !isOnHost ? keep(new EmbeddingLookup(this.#host, spec, shared)) : null;
      this.#builder = keep(stageBuilder({ ...options, isLookedUp: this.#lookup !== null }));
      const homeOf = (weight: UsedWeight): Backend =>
        isHostExpert(weight, options) ? this.#host : this.#backend;
      const head = this.isLast ? servedHead(spec) : null;
      this.#head = head && keep(new GuessHead({ ...options, head }));
      const weights = distinctUses([...this.#builder.weights, ...(this.#head?.weights ?? [])]);
      this.#shard = keep(new LoadedWeights(this.#host, spec, weights, homeOf, shared));
      const layers = spec.attention.slice(range.layerStart, range.layerEnd);
      const windows = windowsOf(spec);
      const inArena = layers.map((layer) => (isInRooms(layer, windows) ? null : layer));
      const ofHead = head ? [head.attention] : [];
      this.#cache = keep(new KvCache(this.#backend, [...inArena, ...ofHead], arenaSlots, cacheType));
      this.#rooms = keep(new RoomCache(this.#backend, layers, windows, cacheType));
      this.#states = keep(stateArena(this.#backend, spec, range));
      const caches = layers
        .map((_, i) => this.#cache.layers[i])
        .map((cache, layer) => cache ?? this.#rooms.layers[layer] ?? null);
      this.#builder.use(this.#shard, caches, this.#states.layers);
      const headCache = this.#cache.layers.at(-1);
      if (headCache) this.#head?.use(this.#shard, headCache, { backend: this.#backend, host: this.#host });
      this.#faults = new StageFaultFinder(this.#cache, this.#rooms, { isFirst: this.isFirst });
      const isShared = !isOnHost && weights.some((weight) => homeOf(weight) === this.#host);
      this.#computer = keep(
        isShared
          ? new ExpertComputer(this.#backend, this.#host, device)
          : new DeviceComputer(this.#backend, isOnHost ? null : device),
      );
      this.#compiled = keep(new CompiledSteps(this.#builder, spec, this.#computer));
    } catch (error) {
      for (const resource of made) resource[Symbol.dispose]();
      throw error;
    }
  }

  get shardBytes(): number {
    return this.#shard.bytes + (this.#lookup?.weights.bytes ?? 0);
  }

  get sharedBytes(): number {
    return this.#shard.sharedBytes + (this.#lookup?.weights.sharedBytes ?? 0);
  }

  /** Bytes of the file that are there after `load`. */
  get fileBytes(): number {
    return this.#shard.fileBytes + (this.#lookup?.weights.fileBytes ?? 0);
  }

  get arenaBytes(): number {
    return this.#cache.bytes + this.#rooms.bytes + this.#states.bytes;
  }

  get computeBytes(): number {
    const { device, host } = this.#intermediates;
    return device + host;
  }

  get #intermediates(): StepComputer['bytes'] {
    const [own, ofHead] = [this.#computer.bytes, this.#head?.bytes ?? { device: 0, host: 0 }];
    return { device: own.device + ofHead.device, host: own.host + ofHead.host };
  }

  /** Bytes of all native memory that it holds, by where they lie. */
  get memory(): { readonly deviceBytes: number; readonly hostBytes: number } {
    const { device, host } = this.#intermediates;
    const isOnHost = this.#backend === this.#host;
    const deviceBytes = isOnHost ? 0 : this.#shard.bytesOn(this.#backend) + this.arenaBytes + device;
    const all = this.shardBytes + this.arenaBytes + device + host;
    return { deviceBytes, hostBytes: all - deviceBytes };
  }

  /**
   * From now on, computes steps with as many rows more as make them fastest by this curve of unpadded steps; without
   * effect on a deterministic stage, which fills whole groups.
   */
  padSteps(curve: readonly StepTime[]): void {
    this.#curve = curve;
  }

  /** A sampler for the logits of the last stage; the caller disposes it. */
  createSampler(masks?: TokenMasks): TokenSampler {
    return new TokenSampler(this.#host, this.options.spec.vocabulary, masks);
  }

  async load(
    source: TensorSource,
    onProgress: (loadedBytes: number) => void = () => undefined,
  ): Promise<void> {
    await this.#cache.clear({ onPause: () => onProgress(0) });
    await this.#rooms.clear({ onPause: () => onProgress(0) });
    await this.#states.clear(() => onProgress(0));
    const lookedUp = this.#lookup?.weights;
    await lookedUp?.load(source, onProgress);
    await this.#shard.load(source, (loaded) => onProgress(loaded + (lookedUp?.fileBytes ?? 0)));
    const unsound = this.#shard.unsoundVectors();
    if (unsound.length > 0) {
      this.options.observe?.({ kind: 'weightsUnsound', tensors: unsound });
      this.#faults.condemn();
    }
    // The largest step decides the compute memory, so that it does not grow while serving.
    const { spec, rowsMax } = this.options;
    const rows = Math.min(rowsMax, this.#cache.slots);
    this.#compile([largestSequence(spec, rows, this.#cache.slots)]);
    this.#head?.reserve(rows, this.#cache.slots);
  }

  /**
   * Readies the stage in the time of a few steps, which touch all of its weights: takes the times of its steps from
   * what the worker measured of its layers, checks by real steps whether rows leave each other's numbers alone, and where
   * they do, pads steps from then on to where they are fastest. It writes to the arena: nothing may be cached.
   * @param onStep is called before each step, and may throw to end it.
   */
  async warmUp(profile: ModelCurves, onStep: () => void = () => undefined): Promise<WarmStage> {
    using sampler = this.isLast ? this.createSampler() : null;
    this.padSteps([]);
    this.#rowGroup = 1;
    this.#threads = null;
    const { isRowwise, isBatchInvariant, rowGroup } = await checkInvariance({
      ...this.options,
      payloadShape: this.payloadShape,
      slots: this.#cache.slots,
      run: async (step) => {
        onStep();
        const result = await this.run(step);
        await sampler?.sample(step.sequences, result.logits);
        return result;
      },
    });
    const { isDeterministic, rowsMax, observe } = this.options;
    if (isDeterministic && !isBatchInvariant) observe?.({ kind: 'determinismBroken' });
    const layers = stageLayers(profile, this.options);
    const curve = stageCurve(layers, this.isLast ? profile.outputCurve : null, rowsMax);
    // What a deterministic worker measured is of padded steps already.
    this.#rowGroup = rowGroup;
    this.#threads =
      isDeterministic || this.#backend !== this.#host ? null : new ThreadChoice(this.options.threads);
    if (isDeterministic || !isRowwise) return { curve, isBatchInvariant };
    this.padSteps(curve);
    return { curve: paddedCurve(curve), isBatchInvariant };
  }

  /**
   * Computes one step; one at a time.
   * @throws ButterflyError COMPUTE_INVALID for a step that does not fit this stage, COMPUTE_FAILED
   */
  async run(step: StageStep): Promise<StageResult> {
    this.#check(step);
    checkPayload(step, step.sequences, this.payloadShape);
    return this.prepare(step)(step.payload, step.tokens);
  }

  /**
   * Does all of a step that needs no activations; the returned function does the rest, once, and no other step may come
   * between.
   * @throws ButterflyError COMPUTE_INVALID for a step that does not fit this stage, COMPUTE_FAILED
   */
  prepare(step: Pick<Step, 'copies' | 'sequences'>): ComputeStep {
    ensure(!this.#isRunning, () => 'A stage computes one step at a time.');
    this.#check(step);
    for (const copy of step.copies) this.#cache.copy(copy);
    this.#rooms.move(step.sequences);
    const inherited = this.#faults.prepare(step);
    const compiled = this.#compile(step.sequences);
    compiled.fill(step.sequences);
    const { paddedRows: rows } = compiled.batch;
    const serial = ++this.#prepared;
    return async (payload, tokens) => {
      ensure(!this.#isDisposed, () => 'The stage was disposed before its step was computed.');
      ensure(!this.#isRunning && serial === this.#prepared, () => 'Another step came between.');
      checkPayload({ payload, tokens }, step.sequences, this.payloadShape);
      this.#isRunning = true;
      let startedMs: number;
      try {
        if (this.#lookup) compiled.fillSource(await this.#lookup.rows(payload), payload);
        else compiled.fillSource(payload, tokens);
        startedMs = performance.now();
        compiled.push();
        this.#host.useThreads(this.#threads?.next(rows, startedMs) ?? this.options.threads);
        await this.#computer.compute(compiled.graph);
        compiled.pull();
      } finally {
        this.#isRunning = false;
      }
      const endedMs = performance.now();
      const computeMicros = Math.round((endedMs - startedMs) * 1000);
      this.#threads?.took({ rows, micros: computeMicros }, endedMs);
      const outputs = compiled.outputs();
      const faults = this.#faults.find(step.sequences, { payload, inherited, outputs });
      const { activations, logits, vectors, hidden, rowSums, logitRowSums } = outputs;
      const sums = logitRowSums ? [rowSums, logitRowSums] : [rowSums];
      const guess = this.#head?.behind(step.sequences, this.isFirst ? payload : tokens, hidden);
      return { activations, logits, vectors, rowSums: sums, faults, computeMicros, ...(guess && { guess }) };
    };
  }

  /** @throws ButterflyError COMPUTE_INVALID while a step is computed */
  [Symbol.dispose](): void {
    ensure(!this.#isRunning, () => 'A stage cannot be disposed while it computes.');
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#compiled[Symbol.dispose]();
    this.#head?.[Symbol.dispose]();
    this.#computer[Symbol.dispose]();
    this.#states[Symbol.dispose]();
    this.#rooms[Symbol.dispose]();
    this.#cache[Symbol.dispose]();
    this.#shard[Symbol.dispose]();
    this.#builder[Symbol.dispose]();
    this.#lookup?.[Symbol.dispose]();
    this.#backend[Symbol.dispose]();
    this.#host[Symbol.dispose]();
  }

  #compile(sequences: Step['sequences']): CompiledStep {
    const { isDeterministic, cacheType, spec } = this.options;
    const hasPrompt = sequences.some((sequence) => promptRows(sequence) > 1);
    const padded = (rows: number): number => {
      if (isDeterministic) return wholeGroups(rows);
      return hasPrompt && this.#rowGroup > 1
        ? Math.ceil(rows / this.#rowGroup) * this.#rowGroup
        : paddedRows(rows, this.#curve);
    };
    const layout = isDeterministic || cacheType !== 'f16' ? plainLayout : this.#builder.layout;
    return this.#compiled.get(batchShape(sequences, padded, layout, spec));
  }

  #check(step: Pick<Step, 'copies' | 'sequences'>): void {
    ensure(!this.#isDisposed, () => 'A step was given to a stage that is disposed.');
    const { slots: stateSlots } = this.#states;
    const { rowsMax, spec } = this.options;
    const windows = windowsOf(spec);
    checkStep(step, { arenaSlots: this.#cache.slots, rowsMax, stateSlots, windows, model: spec });
  }
}

/** What takes most memory to compute: one prompt or, of an encoder, one text. */
function largestSequence(spec: ModelSpec, rows: number, slots: number): StepSequence {
  const noTokens = new Int32Array(0);
  const { isEncoder } = spec;
  return {
    sequenceId: 0,
    regionStart: 0,
    regionSlots: slots,
    positionStart: 0,
    rows,
    logitRows: isEncoder ? rows : 1,
    sampling: null,
    draftTokens: noTokens,
    recentTokens: noTokens,
    logprobs: null,
    scored: null,
    state: null,
    window: windowsOf(spec) && { from: 0, fromFirst: 0, to: 0, toFirst: 0 },
    pooling: isEncoder ? 'mean' : null,
  };
}

/** The layers of a stage by the time that they take, which is another one where their experts lie with the host. */
function stageLayers(profile: ModelCurves, { spec, range, hostExperts = 0 }: StageOptions): TimedLayers[] {
  const kinds = layerKinds(spec);
  const { layerStart, layerEnd } = range;
  const middle = profile.hostExperts ? Math.min(layerStart + hostExperts, layerEnd) : layerStart;
  return [
    ...timedLayers(kinds, profile.hostExperts ?? profile, { layerStart, layerEnd: middle }),
    ...timedLayers(kinds, profile, { layerStart: middle, layerEnd }),
  ];
}

/** Whether a weight belongs to the experts that lie in the memory of the host. */
function isHostExpert({ source }: UsedWeight, { range, hostExperts = 0 }: StageOptions): boolean {
  return isOfExperts(source) && (layerOf(source) ?? Infinity) < range.layerStart + hostExperts;
}
