import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StepCurve } from './step-curve.js';
import { anyCurve, curveWithCliffs } from './testing/step-times.js';

describe('StepCurve', () => {
  it('goes through its points and in straight lines between those that rise', () => {
    const curve = new StepCurve(curveWithCliffs);
    for (const { rows, micros } of curveWithCliffs) expect(curve.micros(rows)).toBe(micros);
    expect(curve.micros(3)).toBe(59_000);
    expect(curve.micros(12)).toBe((61_000 + 92_000) / 2);
  });

  it('takes a step before a sweet spot to be filled up to it', () => {
    const curve = new StepCurve(curveWithCliffs);
    expect([curve.micros(5), curve.micros(7)]).toEqual([61_000, 61_000]);
    expect(curve.micros(25)).toBe(145_000);
  });

  it('goes on in proportion behind its last point and is level before its first', () => {
    const curve = new StepCurve(curveWithCliffs);
    expect(curve.micros(128)).toBe(2 * 283_000);
    expect(new StepCurve([{ rows: 8, micros: 50 }]).micros(1)).toBe(50);
  });

  it('stays between its neighbouring points', () => {
    fc.assert(
      fc.property(anyCurve, fc.integer({ min: 1, max: 600 }), (all, rows) => {
        const micros = new StepCurve(all).micros(rows);
        const above = all.find((point) => point.rows >= rows);
        if (above === undefined) return;
        const below = all.findLast((point) => point.rows < rows) ?? above;
        expect(micros).toBeLessThanOrEqual(above.micros);
        expect(micros).toBeGreaterThanOrEqual(Math.min(above.micros, below.micros) - 1e-6);
      }),
    );
  });

  it('of several stages is the slowest at each number of rows that any has measured', () => {
    fc.assert(
      fc.property(fc.array(anyCurve, { maxLength: 4 }), (curves) => {
        const slowest = StepCurve.slowest([[], ...curves]);
        const measured = curves.length === 0 ? [1, 8, 64, 512] : curves.flat().map(({ rows }) => rows);
        const each = curves.length === 0 ? [StepCurve.assumed] : curves.map((all) => new StepCurve(all));
        for (const rows of measured)
          expect(slowest.micros(rows)).toBe(Math.max(...each.map((curve) => curve.micros(rows))));
      }),
    );
  });

  it('says how many rows fit into a time', () => {
    fc.assert(
      fc.property(
        anyCurve,
        fc.integer({ min: 1, max: 200_000 }),
        fc.integer({ min: 1, max: 600 }),
        fc.constantFrom(1, 8, 32),
        (all, micros, rowsMax, multiple) => {
          const curve = new StepCurve(all);
          const rows = curve.rowsWithin(micros, rowsMax, multiple);
          expect(rows).toBeLessThanOrEqual(rowsMax);
          expect(rows).toBeGreaterThanOrEqual(Math.min(multiple, rowsMax));
          if (rows > multiple) {
            expect(curve.micros(rows)).toBeLessThanOrEqual(micros);
            expect(rows % multiple).toBe(0);
          }
          const more = rows + multiple;
          if (rows >= multiple && more <= rowsMax) expect(curve.micros(more)).toBeGreaterThan(micros);
        },
      ),
    );
  });
});

describe('what steps teach', () => {
  it('moves the measured point that they meet, a little at a time and never by much', () => {
    const curve = new StepCurve([
      { rows: 1, micros: 1000 },
      { rows: 4, micros: 2000 },
    ]);
    curve.observe(4, 3000);
    expect(curve.micros(4)).toBeCloseTo(2100);
    curve.observe(1, 1_000_000);
    expect(curve.micros(1)).toBeCloseTo(1300);
    curve.observe(3, 9000);
    expect(curve.micros(4)).toBeCloseTo(2100);
    for (let step = 0; step < 100; step += 1) curve.observe(4, 5000);
    expect(curve.micros(4)).toBeCloseTo(5000, -1);
  });

  it('never changes what is assumed elsewhere', () => {
    const before = StepCurve.assumed.micros(1);
    StepCurve.slowest([]).observe(1, 10 * before);
    expect(StepCurve.assumed.micros(1)).toBe(before);
  });
});
