import { type StepTime, stepMicros } from '@butterfly/common';
import {
  type LayerKind,
  type LayerWeights,
  activeBytes,
  kindOfLayers,
  meanWeights,
  nearest,
  readBytes,
} from './layer-kinds.js';

/** What a worker measured of the layers of a model. */
export interface LayerTimes {
  /** Of a layer as they are on average, by rows. */
  readonly layerCurve: readonly StepTime[];
  /** Of one layer of each kind that was measured by itself; absent where the layers are alike. */
  readonly kindCurves?: readonly KindTimes[] | undefined;
}

/** The time by rows of a layer of the kind that this layer is of. */
export interface KindTimes {
  readonly layer: number;
  readonly curve: readonly StepTime[];
}

/** So many layers that take such a time each. */
export interface TimedLayers {
  readonly layers: number;
  readonly curve: readonly StepTime[];
}

/**
 * The time by rows of a layer of each kind: as it was measured, else estimated by what it reads, beside the measured kind
 * that reads about as much, or beside the layers as they are on average.
 */
export function timesOfKinds(
  kinds: readonly LayerKind[],
  { layerCurve, kindCurves = [] }: LayerTimes,
): readonly (readonly StepTime[])[] {
  if (kinds.length === 1) return [layerCurve];
  const measured = kinds.flatMap((kind) => {
    const found = kindCurves.find(({ layer }) => kind.layers.includes(layer));
    return found ? [{ kind, curve: found.curve }] : [];
  });
  return kinds.map((kind) => {
    const own = measured.find((each) => each.kind === kind);
    if (own) return own.curve;
    const like =
      measured[
        nearest(
          kind,
          measured.map((each) => each.kind),
        )
      ];
    return estimated(kind, like ? [like.kind] : kinds, like?.curve ?? layerCurve);
  });
}

/** The layers of a range by the time that they take. */
export function timedLayers(
  kinds: readonly LayerKind[],
  times: LayerTimes,
  { layerStart, layerEnd }: { readonly layerStart: number; readonly layerEnd: number },
): TimedLayers[] {
  const within = kindOfLayers(kinds).slice(layerStart, layerEnd);
  return timesOfKinds(kinds, times)
    .map((curve, kind) => ({ layers: within.filter((each) => each === kind).length, curve }))
    .filter(({ layers }) => layers > 0);
}

/** The mean over layers whose kinds take such times, at the rows of all of them. */
export function meanTimes(timed: readonly TimedLayers[]): StepTime[] {
  const layers = timed.reduce((sum, each) => sum + each.layers, 0);
  const rows = new Set(timed.flatMap(({ curve }) => curve.map((point) => point.rows)));
  return [...rows]
    .sort((a, b) => a - b)
    .map((count) => ({
      rows: count,
      micros: timed.reduce((sum, each) => sum + each.layers * stepMicros(count, each.curve), 0) / layers,
    }));
}

/**
 * The time of a layer by that of others, which is taken to have two parts: that of reading weights, in proportion to the
 * bytes that so many rows read, and the rest, which is arithmetic, to the weights that each row is computed with. One row
 * only reads.
 */
function estimated(
  weights: LayerWeights,
  others: readonly LayerKind[],
  curve: readonly StepTime[],
): StepTime[] {
  const mean = meanWeights(others);
  const layers = others.reduce((sum, kind) => sum + kind.layers.length, 0);
  const readByOthers = (rows: number): number =>
    others.reduce((sum, kind) => sum + kind.layers.length * readBytes(kind, rows), 0) / layers;
  const microsPerByte = stepMicros(1, curve) / Math.max(1, activeBytes(mean));
  const activeShare = activeBytes(weights) / Math.max(1, activeBytes(mean));
  return curve.map(({ rows, micros }) => {
    const read = readByOthers(rows);
    const readingMicros = Math.min(micros, microsPerByte * read);
    const readShare = readBytes(weights, rows) / Math.max(1, read);
    return { rows, micros: readingMicros * readShare + (micros - readingMicros) * activeShare };
  });
}
