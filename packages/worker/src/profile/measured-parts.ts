import {
  type LayerKind,
  type ModelSpec,
  type ModelTensor,
  activeBytes,
  cacheBlockSlots,
  cacheBytesPerSlot,
  canCutAt,
  everyStageBytes,
  layerBytes,
  layerKinds,
  outputBytes,
} from '@butterfly/model';

/** Weights of so many bytes are in no processor's cache all at once, as when decoding. */
const streamedBytes = 256 * 2 ** 20;
export const arenaSlots = 8 * cacheBlockSlots;
/** Intermediates of the largest steps of a stage, and what the process has anyway. */
const workBytes = 128 * 2 ** 20;
/** Few steps sample for more rows, and their logits would take much memory. */
export const outputRowsMax = 64;
/** Stages that layers of one kind are measured in, which lie apart in the model. */
const runsMax = 4;
/** A kind with less of what is read for a token is not worth the time to measure it. */
const shareMin = 0.02;

/** Layers that are measured to know the time of one of their kind. */
export interface MeasuredKind {
  /** The first layer of the kind. */
  readonly layer: number;
  /**
   * Runs of layers that are computed one after the other, each run in a stage of its own. In a graph that llama.cpp
   * builds layers are what they are at their place, so those of a run follow each other there; in one that is built here
   * any of them stand behind each other, and may come again.
   */
  readonly runs: readonly (readonly number[])[];
  /** Of the time for all kinds: half of it is shared evenly, half by what is read for a token. */
  readonly timeShare: number;
}

/** What of a model fits the offered memory to be measured: layers of which kinds, and one with the output. */
export interface MeasuredParts {
  readonly kinds: readonly MeasuredKind[];
  readonly hasOutput: boolean;
}

interface Offer {
  readonly spec: ModelSpec;
  readonly memoryBytes: number;
}

/**
 * Chooses by sizes alone, so that the same worker measures the same parts each time: the kinds in the order of what they
 * read for a token, as long as those behind the first take no longer to load than it, or than what no cache holds.
 */
export function measuredParts({ spec, memoryBytes }: Offer): MeasuredParts {
  const sizes = layerBytes(spec);
  const free = memoryBytes - workBytes - everyStageBytes(spec);
  const all = layerKinds(spec);
  const total = all.reduce((sum, kind) => sum + activeOf(kind), 0);
  const worthwhile = all.filter((kind) => activeOf(kind) >= shareMin * total);
  const kinds: (Omit<MeasuredKind, 'timeShare'> & { readonly bytes: number })[] = [];
  let laterBytes = 0;
  let laterBytesMax = 0;
  for (const kind of worthwhile) {
    const runs = runsOf(kind, spec, free, streamedBytes / worthwhile.length);
    if (runs.length === 0) continue;
    const loadedBytes = runs.flat().reduce((sum, layer) => sum + (sizes[layer] ?? 0), 0);
    if (kinds.length === 0) laterBytesMax = Math.max(loadedBytes, streamedBytes);
    else if (laterBytes + loadedBytes > laterBytesMax) continue;
    else laterBytes += loadedBytes;
    kinds.push({ layer: kind.layers[0] ?? 0, runs, bytes: activeOf(kind) });
  }
  const logitBytes = spec.vocabulary * 4 * outputRowsMax;
  const end = endLayers(spec);
  const lastBytes = end.reduce((sum, layer) => sum + (sizes[layer] ?? 0) + arenaBytes(spec), 0);
  // The matrix of the output, which may be the embedding, exists twice while it is converted.
  const hasOutput = free >= lastBytes + 2 * outputBytes(spec) + logitBytes;
  const measuredBytes = kinds.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    kinds: kinds.map(({ bytes, ...kind }) => ({
      ...kind,
      timeShare: (1 / kinds.length + bytes / measuredBytes) / 2,
    })),
    hasOutput,
  };
}

/**
 * The layers that the output is measured with: the least that can be the last stage, or where any layer can, one of usual
 * size.
 */
export function endLayers(spec: ModelSpec): readonly number[] {
  if (spec.graph.kind === 'imported') {
    let first = spec.layers - 1;
    while (!canCutAt(spec, first)) first -= 1;
    return Array.from({ length: spec.layers - first }, (_, i) => first + i);
  }
  const sizes = layerBytes(spec);
  const mean = sizes.reduce((sum, bytes) => sum + bytes, 0) / spec.layers;
  const distances = sizes.map((bytes) => Math.abs(bytes - mean));
  return [distances.indexOf(Math.min(...distances))];
}

export const isOfLayer = ({ name }: ModelTensor): boolean => name.startsWith('blk.');

const activeOf = (kind: LayerKind): number => kind.layers.length * activeBytes(kind);

function arenaBytes(spec: ModelSpec): number {
  return Math.max(...spec.attention.map((layer) => cacheBytesPerSlot(layer, 'f16'))) * arenaSlots;
}

/** As many layers of a kind as exceed a cache, where so many fit; none where not even one does. */
function runsOf(kind: LayerKind, spec: ModelSpec, free: number, wantedBytes: number): number[][] {
  // One matrix at a time passes through memory of its own into the kernels' layout.
  const staging = Math.max(...spec.tensors.filter(isOfLayer).map(({ bytes }) => bytes));
  const bytes = kind.plainBytes + kind.expertBytes;
  const fitting = (runs: number): number =>
    Math.floor((free - staging - (runs - 1) * workBytes) / (bytes + arenaBytes(spec)));
  const wanted = Math.min(spec.layers, Math.ceil(wantedBytes / Math.max(1, bytes)));
  if (spec.graph.kind === 'family') {
    const count = Math.max(0, Math.min(wanted, fitting(1)));
    return count === 0 ? [] : [evenly(kind.layers, count)];
  }
  const runs: number[][] = [];
  let count = 0;
  for (const run of runsWithin(kind.layers, spec.layers)) {
    const room = Math.min(wanted, fitting(runs.length + 1)) - count;
    if (room <= 0 || runs.length === runsMax) break;
    const start = Math.max(0, Math.floor((run.length - room) / 2));
    const taken = trimmed(spec, run.slice(start, start + room));
    if (taken.length === 0) continue;
    count += taken.length;
    runs.push(taken);
  }
  return runs;
}

/** The longest part of layers that follow each other which can be a stage of its own. */
export function trimmed(spec: Pick<ModelSpec, 'layers' | 'crossings'>, run: readonly number[]): number[] {
  const first = run.find((layer) => canCutAt(spec, layer)) ?? Infinity;
  const last = run.findLast((layer) => canCutAt(spec, layer + 1)) ?? -Infinity;
  return run.filter((layer) => layer >= first && layer <= last);
}

/** So many of the layers, spread over them, because quantisers give some layers more bits than others. */
function evenly(layers: readonly number[], count: number): number[] {
  return Array.from(
    { length: count },
    (_, i) => layers[Math.floor(((i + 0.5) * layers.length) / count)] ?? 0,
  );
}

/**
 * Runs of layers that follow each other, the longest first: without the last of a model, which comes with the output, and
 * where there are others without the first.
 */
function runsWithin(layers: readonly number[], count: number): number[][] {
  const beforeLast = count === 1 ? layers : layers.filter((layer) => layer < count - 1);
  const inner = beforeLast.filter((layer) => layer > 0);
  const chosen = inner.length > 0 ? inner : beforeLast;
  const runs: number[][] = [];
  for (const layer of chosen) {
    const run = runs.at(-1);
    if (run?.at(-1) === layer - 1) run.push(layer);
    else runs.push([layer]);
  }
  return runs.sort((a, b) => b.length - a.length);
}
