import { StepCurve } from '@butterfly/common';
import { anyCurve, curveWithCliffs } from '@butterfly/common/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeGroups, mixedRows, prefillChunk } from './step-sizes.js';

describe('decodeGroups', () => {
  const roundMicros = (sequences: number, stages: number, groups: number, curve: StepCurve): number =>
    Math.max(groups, stages) * curve.micros(Math.ceil(sequences / groups));

  it('gives the shortest round of all numbers of groups, in the fewest', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 16 }),
        anyCurve,
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
    expect(decodeGroups(48, 2, new StepCurve(curveWithCliffs))).toBe(3);
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
        anyCurve,
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
        anyCurve,
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
