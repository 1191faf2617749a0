import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type StepTime, stepMicros } from '@butterfly/common';
import { paddedCurve, paddedRows, stageCurve, wholeGroups } from './step-curve.js';
import { measureCurve } from './step-measurement.js';

const anyCurve = fc
  .uniqueArray(fc.integer({ min: 1, max: 80 }), { minLength: 1, maxLength: 12 })
  .chain((rows) =>
    fc
      .array(fc.integer({ min: 1, max: 1000 }), { minLength: rows.length, maxLength: rows.length })
      .map((micros) =>
        rows.sort((a, b) => a - b).map((count, i): StepTime => ({ rows: count, micros: micros[i] ?? 1 })),
      ),
  );
const anyRows = fc.integer({ min: 1, max: 600 });

/** As measured on two cores: kernels take rows by four. */
const cliffs: readonly StepTime[] = [31, 53, 86, 66, 97, 119, 171, 139].map((micros, i) => ({
  rows: i + 1,
  micros,
}));

describe('stepMicros', () => {
  it('is what was measured there, between its neighbours elsewhere, and in proportion behind the end', () => {
    fc.assert(
      fc.property(anyCurve, anyRows, (curve, rows) => {
        for (const point of curve) expect(stepMicros(point.rows, curve)).toBe(point.micros);
        const below = curve.findLast((point) => point.rows <= rows) ?? curve[0];
        const above = curve.find((point) => point.rows >= rows);
        const micros = stepMicros(rows, curve);
        if (!below) return;
        if (!above) expect(micros).toBeCloseTo((below.micros / below.rows) * rows);
        else {
          expect(micros).toBeGreaterThanOrEqual(Math.min(below.micros, above.micros) - 1e-9);
          expect(micros).toBeLessThanOrEqual(Math.max(below.micros, above.micros) + 1e-9);
        }
      }),
    );
  });
});

describe('paddedRows', () => {
  it('takes at most seven more, never takes longer, and leaves a single row alone', () => {
    fc.assert(
      fc.property(anyCurve, anyRows, (curve, rows) => {
        const padded = paddedRows(rows, curve);
        expect(padded).toBeGreaterThanOrEqual(rows);
        expect(padded).toBeLessThan(rows + 8);
        if (rows === 1) expect(padded).toBe(1);
        else
          for (let other = rows; other < rows + 8; other++)
            expect(stepMicros(padded, curve)).toBeLessThanOrEqual(stepMicros(other, curve));
      }),
    );
  });

  it('pads nothing before anything is measured, nor behind what was measured', () => {
    for (const rows of [1, 2, 3, 8, 500]) expect(paddedRows(rows, [])).toBe(rows);
    expect(paddedRows(100, cliffs)).toBe(100);
    expect(paddedRows(0, cliffs)).toBe(0);
  });

  it('fills up to the groups of kernels', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8].map((rows) => paddedRows(rows, cliffs))).toEqual([
      1, 2, 4, 4, 5, 6, 8, 8,
    ]);
    expect(paddedCurve(cliffs).map(({ micros }) => micros)).toEqual([31, 53, 66, 66, 97, 119, 139, 139]);
  });
});

describe('wholeGroups', () => {
  it('fills groups of eight, and leaves nothing as nothing', () => {
    expect([0, 1, 7, 8, 9, 512].map(wholeGroups)).toEqual([0, 8, 8, 8, 16, 512]);
  });
});

describe('stageCurve', () => {
  it('adds up layers, and the output on the last stage', () => {
    fc.assert(
      fc.property(anyCurve, anyCurve, fc.integer({ min: 1, max: 80 }), (layerCurve, outputCurve, layers) => {
        const timed = [{ layers, curve: layerCurve }];
        const middle = stageCurve(timed, null, 512);
        expect(middle).toEqual(layerCurve.map(({ rows, micros }) => ({ rows, micros: layers * micros })));
        const last = stageCurve(timed, outputCurve, 512);
        for (const rows of [...layerCurve, ...outputCurve].map((point) => point.rows)) {
          const expected = layers * stepMicros(rows, layerCurve) + stepMicros(rows, outputCurve);
          expect(last.find((point) => point.rows === rows)?.micros).toBeCloseTo(expected);
        }
        for (const [i, { rows }] of last.entries()) expect(rows).toBeGreaterThan(last[i - 1]?.rows ?? 0);
      }),
    );
  });

  it('stays within the rows that a step may have', () => {
    expect(stageCurve([{ layers: 2, curve: cliffs }], cliffs, 3).map(({ rows }) => rows)).toEqual([1, 2, 3]);
  });
});

describe('measureCurve', () => {
  /** Measures steps that take so long, on a clock of their own. */
  async function measure(microsOf: (rows: number, turn: number) => number, rowsMax = 512) {
    let elapsedMs = 0;
    const turns: number[] = [];
    const measured = await measureCurve(
      (rows) => {
        const micros = microsOf(rows, turns.length);
        turns.push(rows);
        elapsedMs += micros / 1000;
        return Promise.resolve(micros);
      },
      { rowsMax, budgetMs: 1500, nowMs: () => elapsedMs },
    );
    return { ...measured, turns, elapsedMs };
  }

  it('takes the least of three of each where there is time', async () => {
    const { curve, turns, isSteady } = await measure((rows, turn) => rows * 10 + (turn < 10 ? 500 : 0));
    expect(isSteady).toBe(true);
    expect(curve.map(({ rows }) => rows)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 128, 256]);
    expect(turns).toHaveLength(curve.length * 3);
    for (const { rows, micros } of curve) expect(micros).toBe(rows * 10);
  });

  it('ends in time, or in twice the time for the first eight, and in three times with what it repeats', async () => {
    const slow = await measure((rows) => 200_000 + rows);
    expect(slow.turns).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    const slower = await measure((rows) => 1_100_000 + rows);
    expect(slower.turns).toEqual([1, 1]);
    const slowest = await measure(() => 60_000_000);
    expect(slowest).toMatchObject({ turns: [1], isSteady: false });
    const middling = await measure((rows) => rows * 10_000);
    expect(middling.elapsedMs).toBeLessThanOrEqual(4500);
    expect(middling.curve.at(-1)?.rows).toBe(32);
  });

  it('goes on where times differ, and says so when they do not agree in the end', async () => {
    // Twice something else computes meanwhile, for some of the steps.
    const passing = await measure((rows, turn) => rows * 10 * (turn < 40 && turn % 3 > 0 ? 9 : 1));
    expect(passing.isSteady).toBe(true);
    for (const { rows, micros } of passing.curve) expect(micros).toBe(rows * 10);
    const busy = await measure((rows, turn) => rows * 1_000 * 1.5 ** (turn % 7));
    expect(busy.elapsedMs).toBeLessThanOrEqual(4_500);
    const hopeless = await measure((_, turn) => 20_000 * (turn + 1));
    expect(hopeless.isSteady).toBe(false);
  });

  it('takes no step for much slower than one of more rows', async () => {
    const { curve } = await measure((rows) => (rows === 5 ? 90_000 : rows * 100));
    expect(curve.find(({ rows }) => rows === 5)?.micros).toBeCloseTo(1.3 * 600, 6);
    expect(curve.find(({ rows }) => rows === 6)?.micros).toBe(600);
  });

  it('stays within the rows that a step may have', async () => {
    expect((await measure(() => 10, 5)).curve.map(({ rows }) => rows)).toEqual([1, 2, 3, 4, 5]);
    expect((await measure(() => 10, 20)).curve.at(-1)?.rows).toBe(16);
  });
});
