import { stepMicros } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { type LayerKind, activeBytes, readBytes } from './layer-kinds.js';
import { meanTimes, timedLayers, timesOfKinds } from './layer-times.js';

const dense: LayerKind = { layers: [0, 1], plainBytes: 4000, expertBytes: 0, usedShare: 1 };
const experts: LayerKind = { layers: [2, 3, 4, 5], plainBytes: 1000, expertBytes: 32_000, usedShare: 1 / 16 };
const state: LayerKind = { layers: [6], plainBytes: 2500, expertBytes: 0, usedShare: 1 };
const kinds = [experts, dense, state];
/** A machine that reads a byte in a microsecond, and computes a row beyond the first in an eighth of that. */
const timeOf = (kind: LayerKind, rows: number): number =>
  readBytes(kind, rows) + ((rows - 1) * activeBytes(kind)) / 8;
const curveOf = (kind: LayerKind) => [1, 2, 8, 64].map((rows) => ({ rows, micros: timeOf(kind, rows) }));
const mean = meanTimes(kinds.map((kind) => ({ layers: kind.layers.length, curve: curveOf(kind) })));
const whole = { layerStart: 0, layerEnd: 7 };

describe('times of kinds of layers', () => {
  it('are those of all layers where they are alike', () => {
    expect(timesOfKinds([dense], { layerCurve: mean, kindCurves: [] })).toEqual([mean]);
  });

  it('are as they were measured', () => {
    const kindCurves = kinds.map((kind) => ({ layer: kind.layers[0] ?? 0, curve: curveOf(kind) }));
    expect(timesOfKinds(kinds, { layerCurve: mean, kindCurves })).toEqual(kinds.map(curveOf));
  });

  it.each([
    ['the mean', undefined],
    ['one that was', [{ layer: 1, curve: curveOf(dense) }]],
    ['one with experts', [{ layer: 5, curve: curveOf(experts) }]],
    [
      'two',
      [
        { layer: 1, curve: curveOf(dense) },
        { layer: 2, curve: curveOf(experts) },
      ],
    ],
  ])('are estimated by what they read, where they were not, from %s', (_, kindCurves) => {
    const times = timesOfKinds(kinds, { layerCurve: mean, kindCurves });
    for (const [index, kind] of kinds.entries())
      for (const { rows, micros } of times[index] ?? []) expect(micros).toBeCloseTo(timeOf(kind, rows), 6);
  });

  it('add up to those that the mean stands for, whatever was measured of it', () => {
    const layerCurve = [1, 4, 32].map((rows) => ({ rows, micros: 70 + rows ** 1.2 }));
    for (const { rows, micros } of meanTimes(timedLayers(kinds, { layerCurve }, whole)))
      expect(micros).toBeCloseTo(stepMicros(rows, layerCurve), 6);
  });
});

describe('timed layers', () => {
  it('are those of a range, by kind', () => {
    const counts = (layerStart: number, layerEnd: number) =>
      timedLayers(kinds, { layerCurve: mean }, { layerStart, layerEnd }).map(({ layers }) => layers);
    expect(counts(0, 7)).toEqual([4, 2, 1]);
    expect(counts(1, 4)).toEqual([2, 1]);
    expect(counts(6, 7)).toEqual([1]);
  });
});
