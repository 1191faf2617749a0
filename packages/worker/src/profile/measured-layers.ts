import { type StepTime, type WorkerObserver, stepMicros } from '@butterfly/common';
import type { Ggml } from '@butterfly/ggml';
import {
  type KindTimes,
  type LayerKind,
  type LayerTimes,
  type ModelSpec,
  activeBytes,
  layerKinds,
  meanTimes,
  outputBytes,
  readBytes,
  timedLayers,
} from '@butterfly/model';
import {
  type LayerRange,
  type MeasuredCurve,
  type ModelCurves,
  measureCurve,
  plausible,
} from '@butterfly/stage';
import {
  type MeasuredKind,
  arenaSlots,
  endLayers,
  isOfLayer,
  measuredParts,
  outputRowsMax,
} from './measured-parts.js';
import { TimedStage } from './timed-stage.js';

/** For all kinds of layers together. */
const layersTake = { rowsMax: 256, budgetMs: 1_200 };
const outputTakes = { rowsMax: outputRowsMax, budgetMs: 400 };
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
  /** Whether all experts lie with the host beside the device. */
  readonly hasHostExperts: boolean;
  readonly memoryBytes: number;
  readonly isDeterministic: boolean;
  readonly observe: WorkerObserver;
}

/** What the layers and the output take. */
export interface MeasuredLayers extends ModelCurves {
  /** Whether repeated steps took as long as before; else something else computed meanwhile. */
  readonly isSteady: boolean;
}

/** A part of a model as a stage of its own. */
interface MeasuredStage {
  readonly spec: ModelSpec;
  readonly range: LayerRange;
}

/**
 * Measures steps of layers of each kind, and of norm, head and sampling, in some two seconds: on stages of this model's
 * shapes whose weights are made up. What the memory does not allow is estimated from sizes, and told of.
 * @throws ButterflyError COMPUTE_FAILED when the memory that is offered cannot be had
 */
export async function measureLayers(model: MeasuredModel): Promise<MeasuredLayers> {
  const { spec, observe } = model;
  const parts = measuredParts(model);
  const kinds = layerKinds(spec);
  const { isSteady, ...layers } = await measureLayerTimes(model);
  const { layerCurve } = layers;
  if (parts.hasOutput) {
    const end = endLayers(spec);
    const [first = 0] = end;
    const beside = timedLayers(kinds, layers, { layerStart: first, layerEnd: first + end.length });
    const output = await measureOutput(model, end, meanTimes(beside));
    return { ...layers, outputCurve: output.curve, isSteady: isSteady && output.isSteady };
  }
  observe({ kind: 'speedGuessed', part: 'output' });
  const share = outputBytes(spec) / Math.max(1, meanOf(kinds, activeBytes));
  const outputCurve = layerCurve.map(({ rows, micros }) => ({ rows, micros: Math.max(1, micros * share) }));
  return { ...layers, outputCurve, isSteady };
}

/** The same without the output. */
export async function measureLayerTimes(
  model: MeasuredModel,
): Promise<LayerTimes & Pick<MeasuredLayers, 'isSteady'>> {
  const { spec, observe } = model;
  const measured = measuredParts(model).kinds;
  const kinds = layerKinds(spec);
  if (measured.length === 0) observe({ kind: 'speedGuessed', part: 'layer' });
  const { kindCurves, isSteady } = await measureKinds(model, measured);
  const whole = { layerStart: 0, layerEnd: spec.layers };
  // Of kinds that are not measured the times are estimated by those that are.
  const times = { layerCurve: kindCurves[0]?.curve ?? assumed(kinds), kindCurves };
  const layerCurve = meanTimes(timedLayers(kinds, times, whole));
  return kinds.length === 1 ? { layerCurve, isSteady } : { layerCurve, kindCurves, isSteady };
}

/** The time of one layer of each of these kinds, which share the time that there is. */
async function measureKinds(
  model: MeasuredModel,
  kinds: readonly MeasuredKind[],
): Promise<{ readonly kindCurves: readonly KindTimes[]; readonly isSteady: boolean }> {
  const kindCurves: KindTimes[] = [];
  let isSteady = true;
  for (const { layer, runs, timeShare } of kinds) {
    const takes = { ...layersTake, budgetMs: layersTake.budgetMs * timeShare };
    const stages = runs.map((run) => stageOf(model.spec, run));
    const measured = await measureStages(model, stages, takes);
    const count = runs.flat().length;
    const curve = measured.curve.map(({ rows, micros }) => ({ rows, micros: micros / count }));
    kindCurves.push({ layer, curve });
    isSteady &&= measured.isSteady;
  }
  return { kindCurves, isSteady };
}

/** These layers without embedding and output, but for those of a graph of llama.cpp's that begin or end the model. */
function stageOf(spec: ModelSpec, layers: readonly number[]): MeasuredStage {
  const [layerStart = 0] = layers;
  if (spec.graph.kind === 'imported')
    return { spec, range: { layerStart, layerEnd: layerStart + layers.length } };
  // Layers before and behind, which nobody loads, keep embedding and output away.
  return {
    spec: repeatLayers(spec, [0, ...layers, 0]),
    range: { layerStart: 1, layerEnd: layers.length + 1 },
  };
}

/** What the last stage takes beyond these layers, each of which takes so long. */
async function measureOutput(
  model: MeasuredModel,
  layers: readonly number[],
  layerCurve: readonly StepTime[],
): Promise<MeasuredCurve> {
  const { spec } = model;
  const [first = 0] = layers;
  const end =
    spec.graph.kind === 'imported'
      ? { spec, range: { layerStart: first, layerEnd: first + layers.length } }
      : { spec: repeatLayers(spec, [0, first]), range: { layerStart: 1, layerEnd: 2 } };
  const { curve, isSteady } = await measureStages(model, [end], outputTakes);
  const beyondLayers = curve.map(({ rows, micros }) => ({
    rows,
    micros: Math.max(1, micros - layers.length * stepMicros(rows, layerCurve)),
  }));
  return { curve: plausible(beyondLayers), isSteady };
}

/** The time of steps through all of these stages, one after the other. */
async function measureStages(
  { ggml, threads, device, hasHostExperts, isDeterministic }: MeasuredModel,
  parts: readonly MeasuredStage[],
  { rowsMax, budgetMs }: { readonly rowsMax: number; readonly budgetMs: number },
): Promise<MeasuredCurve> {
  const stages: TimedStage[] = [];
  try {
    for (const part of parts) {
      const { layerStart, layerEnd } = part.range;
      const hostExperts = hasHostExperts ? layerEnd - layerStart : 0;
      const options = { ...part, ggml, threads, device, hostExperts, arenaSlots, rowsMax, isDeterministic };
      stages.push(await TimedStage.load(options));
    }
    const measure = async (rows: number): Promise<number> => {
      let micros = 0;
      for (const stage of stages) micros += await stage.micros(rows);
      return micros;
    };
    return await measureCurve(measure, { rowsMax, budgetMs, nowMs: () => performance.now() });
  } finally {
    for (const stage of stages) stage[Symbol.dispose]();
  }
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

/** What is assumed of a layer as they are on average. */
function assumed(kinds: readonly LayerKind[]): StepTime[] {
  const active = meanOf(kinds, activeBytes);
  return assumedCurve.map(({ rows, micros }) => {
    const bytes = meanOf(kinds, (kind) => readBytes(kind, rows)) + (micros - 1) * active;
    return { rows, micros: (bytes / assumedBytesPerSecond) * 1e6 };
  });
}

function meanOf(kinds: readonly LayerKind[], valueOf: (kind: LayerKind) => number): number {
  const layers = kinds.reduce((sum, kind) => sum + kind.layers.length, 0);
  return kinds.reduce((sum, kind) => sum + kind.layers.length * valueOf(kind), 0) / layers;
}
