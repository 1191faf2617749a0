import { describe, expect, it } from 'vitest';
import { type Timed, timedRun } from '../testing/timed-run.js';

const linear = (one: number, each: number): Timed['curve'] =>
  [1, 2, 4, 8, 16, 32, 64].map((rows) => ({ rows, micros: 1000 * (one + each * (rows - 1)) }));

/** A stage of a model that takes 4 ms a row, and a draft that takes half a millisecond a token. */
const spread: Timed = {
  stages: 2,
  hopMs: 5,
  curve: linear(4, 0.3),
  sequences: 1,
  outputTokens: 400,
  draft: { startMs: 1, eachMs: 0.5, right: 70 },
};

const speedup = (timed: Timed): number =>
  timedRun(timed).tokensPerSecond / timedRun({ ...timed, draft: null }).tokensPerSecond;

describe('guesses of a draft, in simulated time', () => {
  it.each([
    { what: 'one stream over two stages', change: {}, least: 1.6 },
    { what: 'one stream over three stages', change: { stages: 3 }, least: 1.7 },
    { what: 'four streams over three stages', change: { stages: 3, sequences: 4 }, least: 1.4 },
    { what: 'one stream in one stage that is near', change: { stages: 1, hopMs: 0.1 }, least: 1.2 },
  ])('make $what faster where seven of ten are right', ({ change, least }) => {
    expect(speedup({ ...spread, ...change })).toBeGreaterThan(least);
  });

  it.each([
    { what: 'that is always wrong', draft: { right: 0 } },
    { what: 'that takes as long as the model', draft: { eachMs: 20 } },
    { what: 'that never answers', draft: { lost: 100 } },
  ])('cost little of one $what', ({ draft: change }) => {
    const draft = { startMs: 1, eachMs: 0.5, right: 70, ...change };
    expect(speedup({ ...spread, outputTokens: 1000, draft })).toBeGreaterThan(0.85);
  });

  it('cost little where many streams fill the pipeline', () => {
    expect(speedup({ ...spread, stages: 1, hopMs: 0.1, sequences: 16 })).toBeGreaterThan(0.94);
  });

  it('are asked for again and again, more and more seldom, where they come to nothing', () => {
    const askedOf = (outputTokens: number): number =>
      timedRun({ ...spread, outputTokens, draft: { startMs: 1, eachMs: 0.5, right: 0 } }).asked;
    const [few, more] = [askedOf(200), askedOf(1600)];
    expect(few).toBeGreaterThan(4);
    expect(more).toBeGreaterThan(few);
    expect(more).toBeLessThan(4 * few);
  });
});
