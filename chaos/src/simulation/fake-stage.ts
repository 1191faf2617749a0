import { ButterflyError, stepMicros } from '@butterfly/common';
import {
  checkPayload,
  checkStep,
  type ComputeStep,
  type Stage,
  type StageRequest,
  type StageResult,
  type StageSampler,
} from '@butterfly/stage';
import { readsTokens } from '@butterfly/model';
import type { TensorSource } from '@butterfly/weights';
import type { SamplingParams, Step, StepResult, StepSequence } from '@butterfly/wire';
import type { FakeMachine } from './fake-machine.js';
import { decodeRows, draw, encodeRows, logprobsOf, runLayer, vocabulary } from './fake-model.js';

type Sequences = Step['sequences'];
type WarmStage = Awaited<ReturnType<Stage['warmUp']>>;

/** Bytes are read in so many parts. */
const loadParts = 8;
/** How often a disk that hangs is looked at. */
const hangMs = 500;
const slowness = 10;

/**
 * Layers of the fake model with a real arena in each. What it computes is real: every number goes through the arena by
 * way of the regions, positions and copies of the steps. Only time is simulated.
 */
export class FakeStage implements Stage {
  readonly isFirst: boolean;
  readonly isLast: boolean;
  readonly handsOnTokens: boolean;
  readonly shardBytes: number;
  readonly sharedBytes = 0;
  readonly fileBytes: number;
  readonly arenaBytes: number;
  isLoading = false;
  readonly #machine: FakeMachine;
  readonly #caches: readonly Int32Array[];
  #isRunning = false;
  #isDisposed = false;
  #prepared = 0;

  constructor(
    private readonly request: StageRequest,
    parts: { readonly machine: FakeMachine; readonly shardBytes: number; readonly arenaBytes: number },
  ) {
    const { spec, range, arenaSlots } = request;
    this.isFirst = range.layerStart === 0;
    this.isLast = range.layerEnd === spec.layers;
    this.handsOnTokens = readsTokens(spec, range.layerEnd, spec.layers);
    this.#machine = parts.machine;
    this.shardBytes = parts.shardBytes;
    this.fileBytes = parts.shardBytes;
    this.arenaBytes = parts.arenaBytes;
    this.#caches = Array.from(
      { length: range.layerEnd - range.layerStart },
      () => new Int32Array(arenaSlots),
    );
  }

  async load(_: TensorSource, onProgress: (loadedBytes: number) => void = () => undefined): Promise<void> {
    this.isLoading = true;
    try {
      for (let part = 1; part <= loadParts; part++) {
        await this.#read(this.fileBytes / loadParts);
        onProgress(Math.round((this.fileBytes * part) / loadParts));
      }
    } finally {
      this.isLoading = false;
    }
  }

  async warmUp(
    profile: Parameters<Stage['warmUp']>[0],
    onStep: () => void = () => undefined,
  ): Promise<WarmStage> {
    for (const rows of [1, 8]) {
      onStep();
      await this.#machine.sleep(this.#stepMicros(rows) / 1_000);
    }
    // As of real steps, whatever they leave is no sequence's.
    for (const cache of this.#caches) cache.fill(0x5eed);
    const layers = this.#caches.length;
    const curve = profile.layerCurve.map(({ rows, micros }) => ({
      rows,
      micros: layers * micros + (this.isLast ? stepMicros(rows, profile.outputCurve) : 0),
    }));
    return { curve, isBatchInvariant: this.#machine.traits.isBatchInvariant };
  }

  prepare(step: Pick<Step, 'copies' | 'sequences'>): ComputeStep {
    this.#expect(!this.#isDisposed, 'a step was given to a stage that is disposed');
    this.#expect(!this.#isRunning, 'a step was prepared while another one is computed');
    checkStep(step, { ...this.request, stateSlots: 0, windows: null, model: this.request.spec });
    for (const { fromSlot, toSlot, slots } of step.copies)
      for (const cache of this.#caches) cache.copyWithin(toSlot, fromSlot, fromSlot + slots);
    const serial = ++this.#prepared;
    return async (payload, tokens) => {
      this.#expect(!this.#isDisposed, 'a step was computed on a stage that is disposed');
      this.#expect(!this.#isRunning && serial === this.#prepared, 'another step came between');
      this.#isRunning = true;
      try {
        return await this.#compute(step.sequences, payload, this.isFirst ? payload : tokens);
      } finally {
        this.#isRunning = false;
      }
    };
  }

  createSampler(): StageSampler {
    return {
      sample: (sequences, logits) => Promise.resolve(sample(sequences, logits)),
      [Symbol.dispose]: () => undefined,
    };
  }

  [Symbol.dispose](): void {
    this.#expect(!this.#isRunning, 'a stage was disposed while it computes');
    // Harmless, but of a worker that lost count of its stages.
    if (this.#isDisposed) this.#machine.onViolation('a stage was disposed twice');
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#machine.released(this);
  }

  async #read(bytes: number): Promise<void> {
    const { traits, disk } = this.#machine;
    const timeMs = (bytes / traits.diskBytesPerSecond) * 1_000;
    await this.#machine.sleep(disk === 'slow' ? timeMs * slowness : timeMs);
    while (this.#machine.disk === 'hangs') await this.#machine.sleep(hangMs);
    if (this.#machine.disk === 'fails')
      throw new ButterflyError('COMPUTE_FAILED', 'The simulated machine cannot load anything.');
  }

  async #compute(
    sequences: Sequences,
    payload: Uint8Array,
    tokens: Uint8Array | undefined,
  ): Promise<StageResult> {
    const { spec, range } = this.request;
    checkPayload({ payload, tokens }, sequences, {
      isFirst: this.isFirst,
      width: spec.hidden,
      vocabulary,
      readsTokens: readsTokens(spec, range.layerStart, range.layerEnd),
    });
    const ids = new Int32Array(new Uint8Array(tokens ?? []).buffer);
    let values = this.isFirst ? new Int32Array(new Uint8Array(payload).buffer) : decodeRows(payload);
    if (values === null) {
      this.#machine.onViolation('activations arrived damaged');
      throw new ButterflyError('COMPUTE_INVALID', 'The activations are damaged.');
    }
    const rows = sequences.reduce((sum, sequence) => sum + sequence.rows, 0);
    const computeMicros = this.#stepMicros(rows);
    await this.#machine.sleep(computeMicros / 1_000);
    this.#expect(!this.#isDisposed, 'a stage was disposed while it computed');
    for (const [index, cache] of this.#caches.entries())
      values = this.#runLayer(range.layerStart + index, cache, sequences, { values, ids });
    if (this.#machine.isLying) values = values.map((value) => value ^ 1);
    return this.isLast
      ? { activations: null, logits: logitsOf(sequences, values), faults: null, computeMicros }
      : { activations: encodeRows(values), logits: null, faults: null, computeMicros };
  }

  #runLayer(
    layer: number,
    cache: Int32Array,
    sequences: Sequences,
    { values, ids }: { readonly values: Int32Array; readonly ids: Int32Array },
  ): Int32Array {
    const isReader = readsTokens(this.request.spec, layer, layer + 1);
    const outputs = new Int32Array(values.length);
    let at = 0;
    for (const { regionStart, positionStart, rows } of sequences) {
      const own = (all: Int32Array): Int32Array => all.subarray(at, at + rows);
      const part = { regionStart, positionStart, values: own(values), tokens: isReader ? own(ids) : null };
      outputs.set(runLayer(layer, cache, part), at);
      at += rows;
    }
    return outputs;
  }

  #stepMicros(rows: number): number {
    const { layerCurve, outputCurve } = this.#machine;
    const outputMicros = this.isLast ? stepMicros(rows, outputCurve) : 0;
    return Math.round(this.#caches.length * stepMicros(rows, layerCurve) + outputMicros);
  }

  #expect(condition: boolean, violation: string): void {
    if (condition) return;
    this.#machine.onViolation(violation);
    throw new ButterflyError('COMPUTE_INVALID', violation);
  }
}

/** Of each wanted row its value, as the first of the logits that it stands for; the others say nothing. */
function logitsOf(sequences: Sequences, values: Int32Array): Float32Array | null {
  const wanted: number[] = [];
  let end = 0;
  for (const { rows, logitRows } of sequences) {
    end += rows;
    wanted.push(...values.subarray(end - logitRows, end));
  }
  if (wanted.length === 0) return null;
  const logits = new Int32Array(wanted.length * vocabulary);
  for (const [row, value] of wanted.entries()) logits[row * vocabulary] = value;
  return new Float32Array(logits.buffer);
}

function sample(sequences: Sequences, logits: Float32Array | null): StepResult['outputs'] {
  if (!logits) return [];
  const values = new Int32Array(logits.buffer, logits.byteOffset, logits.length).filter(
    (_, index) => index % vocabulary === 0,
  );
  let start = 0;
  return sequences.flatMap((sequence) => {
    const { sequenceId, sampling, logitRows, scored, logprobs } = sequence;
    const own = values.subarray(start, start + logitRows);
    start += logitRows;
    if (logitRows === 0 || (sampling === null && scored === null)) return [];
    const scoredRows = scored?.tokens.length ?? 0;
    const sampledValues = own.subarray(scoredRows);
    const tokens = sampling ? sampleLine(sequence, sampling, sampledValues) : new Int32Array(0);
    return [
      {
        sequenceId,
        tokens,
        ...(logprobs !== null && {
          logprobs: logprobsOf(sampledValues.subarray(0, tokens.length), tokens, logprobs),
        }),
        ...(scored && {
          scored: logprobsOf(own.subarray(0, scoredRows), scored.tokens, scored.alternatives),
        }),
      },
    ];
  });
}

function sampleLine(sequence: StepSequence, sampling: SamplingParams, values: Int32Array): Int32Array {
  const { positionStart, rows, draftTokens } = sequence;
  const recent = [...sequence.recentTokens];
  const tokens: number[] = [];
  for (const [index, value] of values.entries()) {
    const position = positionStart + rows - (values.length - 1 - index);
    const token = draw(value, position, sampling, recent.slice(-64));
    tokens.push(token);
    if (token !== draftTokens[index]) break;
    if (sampling.repeatPenalty !== 1) recent.push(token);
  }
  return Int32Array.from(tokens);
}
