import type { StepTime } from './step-time.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeGroups, mixedRows, prefillChunk, StepCurve } from './step-curve.js';

/** Measured on the 1B shape (design, section 4): 4 rows cost more than 8, 24 more than 32. */
const cliffs: readonly StepTime[] = [
  [1, 31],
  [2, 53],
  [4, 65],
  [8, 61],
  [16, 92],
  [24, 171],
  [32, 145],
  [48, 277],
  [64, 283],
].map(([rows = 0, millis = 0]) => ({ rows, micros: millis * 1000 }));

/** Curves with ascending rows and any times, so with cliffs. */
const points: fc.Arbitrary<StepTime[]> = fc
  .uniqueArray(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 8 })
  .chain((rows) =>
    fc.tuple(
      ...rows
        .toSorted((a, b) => a - b)
        .map((count) =>
          fc.record({ rows: fc.constant(count), micros: fc.integer({ min: 1, max: 100_000 }) }),
        ),
    ),
  );

describe('StepCurve', () => {
  it('goes through its points and in straight lines between those that rise', () => {
    const curve = new StepCurve(cliffs);
    for (const { rows, micros } of cliffs) expect(curve.micros(rows)).toBe(micros);
    expect(curve.micros(3)).toBe(59_000);
    expect(curve.micros(12)).toBe((61_000 + 92_000) / 2);
  });

  it('takes a step before a sweet spot to be filled up to it', () => {
    const curve = new StepCurve(cliffs);
    expect([curve.micros(5), curve.micros(7)]).toEqual([61_000, 61_000]);
    expect(curve.micros(25)).toBe(145_000);
  });

  it('goes on in proportion behind its last point and is level before its first', () => {
    const curve = new StepCurve(cliffs);
    expect(curve.micros(128)).toBe(2 * 283_000);
    expect(new StepCurve([{ rows: 8, micros: 50 }]).micros(1)).toBe(50);
  });

  it('stays between its neighbouring points', () => {
    fc.assert(
      fc.property(points, fc.integer({ min: 1, max: 600 }), (all, rows) => {
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
      fc.property(fc.array(points, { maxLength: 4 }), (curves) => {
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
        points,
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

describe('decodeGroups', () => {
  const roundMicros = (sequences: number, stages: number, groups: number, curve: StepCurve): number =>
    Math.max(groups, stages) * curve.micros(Math.ceil(sequences / groups));

  it('gives the shortest round of all numbers of groups, in the fewest', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 16 }),
        points,
        (n, stages, all) => {
          const curve = new StepCurve(all);
          const groups = decodeGroups(n, stages, curve);
          const every = Array.from({ length: Math.min(n, 2 * stages) }, (_, index) => index + 1);
          const shortest = Math.min(...every.map((each) => roundMicros(n, stages, each, curve)));
          expect(roundMicros(n, stages, groups, curve)).toBe(shortest);
          expect(every.find((each) => roundMicros(n, stages, each, curve) === shortest)).toBe(groups);
        },
      ),
    );
  });

  it('keeps every stage busy on a curve without cliffs', () => {
    for (const stages of [1, 2, 4, 8, 16])
      expect(decodeGroups(8 * stages, stages, StepCurve.assumed)).toBe(stages);
  });

  it('has one group where there is one sequence, and sits on the sweet spot of a curve with cliffs', () => {
    expect(decodeGroups(1, 8, StepCurve.assumed)).toBe(1);
    // Two steps of 24 rows would take 2 * 171 ms, three of 16 take 3 * 92.
    expect(decodeGroups(48, 2, new StepCurve(cliffs))).toBe(3);
  });
});

describe('prefillChunk', () => {
  const micros = (tokens: number, stages: number, rows: number, curve: StepCurve): number =>
    (Math.ceil(tokens / rows) + stages - 1) * curve.micros(rows);

  it('gives the shortest time of all even chunks in multiples of 32, up to four per stage', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4000 }),
        fc.integer({ min: 1, max: 16 }),
        fc.constantFrom(32, 96, 512, 600),
        points,
        (tokens, stages, rowsMax, all) => {
          const curve = new StepCurve(all);
          const rows = prefillChunk(tokens, stages, rowsMax, curve);
          expect(rows).toBeGreaterThan(0);
          expect(rows).toBeLessThanOrEqual(Math.min(tokens, rowsMax));
          expect(rows % 32 === 0 || rows === Math.min(tokens, rowsMax)).toBe(true);
          const fewest = Math.ceil(tokens / rowsMax);
          const rival = Array.from({ length: 4 * stages }, (_, index) => index + 1)
            .filter((chunks) => chunks >= fewest)
            .map((chunks) => Math.min(Math.ceil(Math.ceil(tokens / chunks) / 32) * 32, tokens, rowsMax));
          for (const each of rival)
            expect(micros(tokens, stages, rows, curve)).toBeLessThanOrEqual(
              micros(tokens, stages, each, curve),
            );
        },
      ),
    );
  });

  it('gives each stage something to do soon where the curve is smooth', () => {
    expect(prefillChunk(2048, 1, 512, StepCurve.assumed)).toBe(512);
    for (const stages of [2, 4, 8]) {
      const rows = prefillChunk(2048, stages, 512, StepCurve.assumed);
      expect(Math.ceil(2048 / rows)).toBeGreaterThanOrEqual(stages);
    }
  });
});

describe('mixedRows', () => {
  it('brings prompts through the pipeline in the shortest time, beside what decodes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: 2000 }),
        fc.integer({ min: 1, max: 16 }),
        fc.integer({ min: 1, max: 512 }),
        points,
        (decodeRows, promptTokens, stages, room, all) => {
          const curve = new StepCurve(all);
          const rowsMax = decodeRows + room;
          const rows = mixedRows({ decodeRows, promptTokens, stages, rowsMax, multiple: 8 }, curve);
          expect(rows).toBeGreaterThan(decodeRows);
          expect(rows).toBeLessThanOrEqual(rowsMax);
          const micros = (count: number): number =>
            (Math.ceil(promptTokens / (count - decodeRows)) + stages - 1) * curve.micros(count);
          for (let rival = decodeRows + 1; rival <= rowsMax; rival += 1)
            if (rival % 8 === 0 && rival - decodeRows < promptTokens + 8)
              expect(micros(rows)).toBeLessThanOrEqual(micros(rival));
        },
      ),
    );
  });

  it('takes a prompt at once in one stage, and in small parts where many stages would wait for it', () => {
    const rowsOf = (stages: number): number =>
      mixedRows(
        { decodeRows: 8, promptTokens: 200, stages, rowsMax: 512, multiple: 8 },
        new StepCurve([
          { rows: 8, micros: 1000 },
          { rows: 512, micros: 32_000 },
        ]),
      );
    expect(rowsOf(1)).toBe(208);
    expect(rowsOf(4)).toBeLessThan(100);
    expect(rowsOf(16)).toBeLessThan(50);
  });
});
