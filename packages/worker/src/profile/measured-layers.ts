import { type StepTime, type WorkerObserver, stepMicros } from '@butterfly/common';
import { type Ggml, dtype } from '@butterfly/ggml';
import {
  type ModelSpec,
  type ModelTensor,
  cacheBlockSlots,
  cacheBytesPerSlot,
  layerBytes,
  outputBytes,
} from '@butterfly/model';
import {
  type LayerRange,
  type MeasuredCurve,
  type ModelCurves,
  StageRuntime,
  decodingStep,
  measureCurve,
  plausible,
} from '@butterfly/stage';
import type { TensorSource } from '@butterfly/weights';

/** Weights of so many bytes are in no processor's cache all at once, as when decoding. */
const streamedBytes = 256 * 2 ** 20;
const arenaSlots = 8 * cacheBlockSlots;
/** Intermediates of the largest steps, and what the process has anyway. */
const workBytes = 128 * 2 ** 20;
const layersTake = { rowsMax: 256, budgetMs: 1_200 };
/** Few steps sample for more rows, and their logits would take much memory. */
const outputTakes = { rowsMax: 64, budgetMs: 400 };
/** Taken for a machine that cannot hold what is to be measured: two channels of memory of a laptop, shared with others. */
const assumedBytesPerSecond = 10e9;
/** Times over that of one row, as on two cores: what a machine is assumed to do where it cannot be measured. */
const assumedCurve: readonly StepTime[] = [
  { rows: 1, micros: 1 },
  { rows: 8, micros: 2 },
  { rows: 64, micros: 9 },
];

export interface MeasuredModel {
  readonly ggml: Ggml;
  readonly spec: ModelSpec;
  readonly threads: number;
  readonly device: string;
  readonly memoryBytes: number;
  readonly isDeterministic: boolean;
  readonly observe: WorkerObserver;
}

/** What of a model fits the offered memory to be measured: so many layers at once, and one with the output. */
export interface MeasuredParts {
  readonly layers: number;
  readonly hasOutput: boolean;
}

/** Chooses by sizes alone, so that the same worker measures the same parts each time. */
export function measuredParts({
  spec,
  memoryBytes,
}: Pick<MeasuredModel, 'spec' | 'memoryBytes'>): MeasuredParts {
  // One matrix at a time passes through memory of its own into the kernels' layout.
  const staging = Math.max(...spec.tensors.filter(isOfLayer).map(({ bytes }) => bytes));
  const arenaBytes = Math.max(...spec.attention.map((layer) => cacheBytesPerSlot(layer, 'f16'))) * arenaSlots;
  const free = memoryBytes - workBytes;
  const layer = meanBytes(spec) + arenaBytes;
  const fitting = Math.floor((free - staging) / layer);
  const logitBytes = spec.vocabulary * 4 * outputTakes.rowsMax;
  return {
    layers: Math.max(0, Math.min(spec.layers, Math.ceil(streamedBytes / meanBytes(spec)), fitting)),
    // The matrix of the output, which may be the embedding, exists twice while it is converted.
    hasOutput: free >= layer + 2 * outputBytes(spec) + logitBytes,
  };
}

/** What one layer and the output take. */
export interface MeasuredLayers extends ModelCurves {
  /** Whether repeated steps took as long as before; else something else computed meanwhile. */
  readonly isSteady: boolean;
}

/**
 * Measures steps of one layer, and of norm, head and sampling, in some two seconds: on stages of this model's shapes
 * whose weights are made up. What the memory does not allow is estimated from sizes, and told of.
 * @throws ButterflyError COMPUTE_FAILED when the memory that is offered cannot be had
 */
export async function measureLayers(model: MeasuredModel): Promise<MeasuredLayers> {
  const { spec, observe } = model;
  const parts = measuredParts(model);
  const mean = meanBytes(spec);
  if (parts.layers === 0) observe({ kind: 'speedGuessed', part: 'layer' });
  const layer =
    parts.layers === 0 ? { curve: assumed(mean), isSteady: true } : await measureLayer(model, parts.layers);
  const layerCurve = layer.curve;
  if (parts.hasOutput) {
    const output = await measureOutput(model, layerCurve);
    return { layerCurve, outputCurve: output.curve, isSteady: layer.isSteady && output.isSteady };
  }
  observe({ kind: 'speedGuessed', part: 'output' });
  const share = outputBytes(spec) / mean;
  return {
    layerCurve,
    outputCurve: layerCurve.map(({ rows, micros }) => ({ rows, micros: micros * share })),
    isSteady: layer.isSteady,
  };
}

/** The time of one of several layers that are computed one after the other, as in a stage. */
async function measureLayer(model: MeasuredModel, count: number): Promise<MeasuredCurve> {
  const { spec, range } = measuredRange(model.spec, count);
  const { curve, isSteady } = await measureStage(model, spec, range, layersTake);
  return { curve: curve.map(({ rows, micros }) => ({ rows, micros: micros / count })), isSteady };
}

/** So many layers that stand for all, without embedding and output. */
function measuredRange(
  spec: ModelSpec,
  count: number,
): { readonly spec: ModelSpec; readonly range: LayerRange } {
  if (spec.graph.kind === 'imported') {
    // Layers are what they are at their place; in the middle they are what most of them are.
    const layerStart = Math.max(Math.min(1, spec.layers - count - 1), Math.floor((spec.layers - count) / 2));
    return { spec, range: { layerStart, layerEnd: layerStart + count } };
  }
  // Evenly over the model, because quantisers give some layers more bits than others.
  const chosen = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * spec.layers) / count));
  // Layers before and behind, which nobody loads, keep embedding and output away.
  return {
    spec: repeatLayers(spec, [0, ...chosen, 0]),
    range: { layerStart: 1, layerEnd: count + 1 },
  };
}

/** What the last stage takes beyond its layer. */
async function measureOutput(model: MeasuredModel, layerCurve: readonly StepTime[]): Promise<MeasuredCurve> {
  const { spec, range } = measuredEnd(model.spec);
  const { curve, isSteady } = await measureStage(model, spec, range, outputTakes);
  const beyondLayer = curve.map(({ rows, micros }) => ({
    rows,
    micros: Math.max(1, micros - stepMicros(rows, layerCurve)),
  }));
  return { curve: plausible(beyondLayer), isSteady };
}

/** A usual layer with the output. */
function measuredEnd(spec: ModelSpec): { readonly spec: ModelSpec; readonly range: LayerRange } {
  if (spec.graph.kind === 'imported')
    return { spec, range: { layerStart: spec.layers - 1, layerEnd: spec.layers } };
  const mean = meanBytes(spec);
  const distance = layerBytes(spec).map((size) => Math.abs(size - mean));
  const typical = distance.indexOf(Math.min(...distance));
  return { spec: repeatLayers(spec, [0, typical]), range: { layerStart: 1, layerEnd: 2 } };
}

async function measureStage(
  { ggml, threads, device, isDeterministic }: MeasuredModel,
  spec: ModelSpec,
  range: LayerRange,
  { rowsMax, budgetMs }: { readonly rowsMax: number; readonly budgetMs: number },
): Promise<MeasuredCurve> {
  const cacheType = 'f16';
  const options = {
    ggml,
    spec,
    range,
    threads,
    device,
    arenaSlots,
    cacheType,
    rowsMax,
    isDeterministic,
  } as const;
  using stage = new StageRuntime(options);
  await stage.load(madeUpWeights);
  using sampler = stage.isLast ? stage.createSampler() : null;
  const likelihood = stage.isLast ? likelyLogits(spec.vocabulary) : null;
  const measure = async (rows: number): Promise<number> => {
    const step = decodingStep(rows, { spec, isFirst: stage.isFirst, slots: arenaSlots, rowsMax });
    const { logits, computeMicros } = await stage.run(step);
    if (!logits || !likelihood) return Math.max(1, computeMicros);
    for (let at = 0; at < logits.length; at += spec.vocabulary) logits.set(likelihood, at);
    const startedMs = performance.now();
    await sampler?.sample(step.sequences, logits);
    return Math.max(1, computeMicros + (performance.now() - startedMs) * 1000);
  };
  // The first one meets cold memory and sleeping threads.
  await measure(1);
  return await measureCurve(measure, { rowsMax, budgetMs, nowMs: () => performance.now() });
}

/** A model of these layers of `spec` in this order. */
function repeatLayers(spec: ModelSpec, layers: readonly number[]): ModelSpec {
  const tensors = layers.flatMap((layer, index) =>
    spec.tensors
      .filter(({ name }) => name.startsWith(`blk.${layer}.`))
      .map((tensor) => ({ ...tensor, name: tensor.name.replace(/^blk\.\d+/u, `blk.${index}`) })),
  );
  const others = spec.tensors.filter((tensor) => !isOfLayer(tensor));
  const last = layers.length - 1;
  return {
    ...spec,
    layers: layers.length,
    attention: layers.flatMap((layer) => spec.attention[layer] ?? []),
    sharedTensors: {
      ...spec.sharedTensors,
      'token_embd.weight': spec.tiedEmbeddings ? [0, last] : [0],
      'output_norm.weight': [last],
      'output.weight': [last],
    },
    tensors: [...tensors, ...others],
  };
}

/**
 * Vectors of ones, as norms and factors that divide must not be zero, and matrices of zeros, which all types have. What
 * chooses experts is noise, so that rows choose several, and not always the same ones, which a cache would hold.
 */
const madeUpWeights: TensorSource = {
  read: (tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> => {
    const isVector = tensor.shape.length === 1 && tensor.type === dtype.F32;
    const isRouter = tensor.type === dtype.F32 && tensor.name.endsWith('.ffn_gate_inp.weight');
    const bytes = Buffer.from(target.buffer, target.byteOffset, target.byteLength);
    if (isVector) bytes.fill(oneInF32);
    else if (isRouter) fillNoise(bytes, offset);
    else target.fill(0);
    return Promise.resolve();
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

/** Numbers between -1 and 1 that are the same each time. */
function fillNoise(bytes: Buffer, offset: number): void {
  for (let at = 0; at + 4 <= bytes.length; at += 4)
    bytes.writeFloatLE(Math.imul(offset + at + 1, 0x9e3779b1) / 2 ** 31, at);
}

const oneInF32 = Buffer.from(new Float32Array([1]).buffer);

/** Logits of which some hundred tokens have nearly all of the likelihood, as those of a language: sampling takes its time by them. */
function likelyLogits(vocabulary: number): Float32Array {
  return Float32Array.from({ length: vocabulary }, (_, i) => -1.5 * Math.log(1 + ((i * 7919) % vocabulary)));
}

function assumed(bytes: number): StepTime[] {
  const firstMicros = (bytes / assumedBytesPerSecond) * 1e6;
  return assumedCurve.map(({ rows, micros }) => ({ rows, micros: micros * firstMicros }));
}

const isOfLayer = ({ name }: ModelTensor): boolean => name.startsWith('blk.');

function meanBytes(spec: ModelSpec): number {
  return layerBytes(spec).reduce((sum, bytes) => sum + bytes, 0) / spec.layers;
}
