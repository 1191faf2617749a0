import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Acceptance, guessesWorthwhile, type GuessedStep, type Guesser } from './acceptance.js';

describe('Acceptance', () => {
  const rateAfter = (
    times: number,
    act: (acceptance: Acceptance) => void,
    acceptance = new Acceptance(),
  ): number => {
    for (let time = 0; time < times; time += 1) act(acceptance);
    return acceptance.rate;
  };

  it('starts doubtful and follows what comes true', () => {
    expect(new Acceptance().rate).toBeLessThan(0.4);
    expect(rateAfter(20, (acceptance) => acceptance.judged(4, 4))).toBeGreaterThan(0.98);
    expect(rateAfter(20, (acceptance) => acceptance.judged(4, 0))).toBeLessThan(0.1);
    expect(rateAfter(100, (acceptance) => acceptance.judged(4, 1))).toBeCloseTo(0.5, 1);
  });

  it('rises with a line of guesses that comes true as a whole, falls with one refuted at once, and is a probability', () => {
    const judged = fc
      .integer({ min: 1, max: 32 })
      .chain((guessed) => fc.tuple(fc.constant(guessed), fc.integer({ min: 0, max: guessed })));
    fc.assert(
      fc.property(fc.array(fc.option(judged), { maxLength: 200 }), (past) => {
        const grown = (): Acceptance => {
          const acceptance = new Acceptance();
          for (const each of past) {
            if (each !== null) acceptance.judged(...each);
            else {
              acceptance.foresaw(1);
              acceptance.came(1);
            }
          }
          return acceptance;
        };
        const { rate } = grown();
        expect(rate).toBeGreaterThan(0);
        expect(rate).toBeLessThanOrEqual(1);
        expect(rateAfter(1, (acceptance) => acceptance.judged(3, 3), grown())).toBeGreaterThanOrEqual(rate);
        expect(rateAfter(1, (acceptance) => acceptance.judged(3, 0), grown())).toBeLessThan(rate);
      }),
    );
  });

  it('learns for nothing from what could have been guessed', () => {
    const acceptance = new Acceptance();
    const comes = (token: number): void => {
      acceptance.foresaw(7);
      acceptance.came(token);
    };
    expect(rateAfter(20, () => comes(8), acceptance)).toBeLessThan(0.1);
    expect(rateAfter(60, () => comes(7), acceptance)).toBeGreaterThan(0.9);
  });

  it('learns nothing from a token that was not foreseen', () => {
    const acceptance = new Acceptance();
    const { rate } = acceptance;
    acceptance.came(7);
    expect(acceptance.rate).toBe(rate);
    // What was foreseen before a guess was made says nothing of what comes after it.
    acceptance.foresaw(7);
    acceptance.judged(1, 1);
    const judged = acceptance.rate;
    acceptance.came(8);
    expect(acceptance.rate).toBe(judged);
  });
});

describe('guessesWorthwhile', () => {
  /** Tokens that a step gives on average: a guess counts when it and all before it come true. */
  function tokensOf(guessers: readonly Guesser[], baseRows: number, count: number): number {
    let tokens = baseRows;
    for (const { rate, guesses } of guessers)
      for (let guess = 1; guess <= Math.min(count, guesses); guess += 1) tokens += rate ** guess;
    return tokens;
  }
  /** Rows that are computed again on average: for each guess that may be the first to be refused, what was right before it. */
  function repeatsOf(guessers: readonly Guesser[], count: number): number {
    let rows = 0;
    for (const { rate, guesses, repeated } of guessers)
      for (let right = 0; repeated !== null && right < Math.min(count, guesses); right += 1)
        rows += rate ** right * (1 - rate) * (repeated + right);
    return rows;
  }
  const step = (stepMicros: (rows: number) => number): GuessedStep => ({
    rows: 1,
    tokens: 1,
    rowsMax: 512,
    stepMicros,
    waitMicros: 0,
  });
  const rowsOf = (guessers: readonly Guesser[], baseRows: number, count: number): number =>
    guessers.reduce((rows, { guesses }) => rows + Math.min(count, guesses), baseRows);

  const guesser = fc.record({
    rate: fc.double({ min: 0.001, max: 1, noNaN: true }),
    guesses: fc.integer({ min: 0, max: 15 }),
    repeated: fc.option(fc.integer({ min: 1, max: 15 })),
  });

  it('gives the most tokens per time of all counts that the step has rows for', () => {
    fc.assert(
      fc.property(
        fc.array(guesser, { minLength: 1, maxLength: 6 }),
        fc.nat(10),
        fc.integer({ min: 1, max: 80 }),
        fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 100, maxLength: 100 }),
        (guessers, others, rowsMax, times) => {
          const tokens = guessers.length + others;
          const baseRows = guessers.reduce((rows, { repeated }) => rows + (repeated ?? 1) - 1, tokens);
          // Ascending, as a step of more rows takes no less time, and those that are computed again cost something.
          const total: number[] = [];
          for (const time of times) total.push((total.at(-1) ?? 0) + time);
          const stepMicros = (rows: number): number => total[Math.min(Math.round(rows), 99)] ?? 1;
          const perMicro = (count: number): number =>
            tokensOf(guessers, tokens, count) /
            (stepMicros(rowsOf(guessers, baseRows, count)) +
              stepMicros(tokens + repeatsOf(guessers, count)) -
              stepMicros(tokens));
          const asked = { rows: baseRows, tokens, rowsMax, stepMicros, waitMicros: 0 };
          const count = guessesWorthwhile(guessers, asked);
          const fitting = Array.from({ length: 16 }, (_, each) => each).filter(
            (each) => each === 0 || rowsOf(guessers, baseRows, each) <= rowsMax,
          );
          expect(fitting).toContain(count);
          expect(perMicro(count)).toBeGreaterThan(Math.max(...fitting.map(perMicro)) * (1 - 1e-9));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('makes as many as there are where rows cost nothing and every guess has come true so far', () => {
    const acceptance = new Acceptance();
    for (let step = 0; step < 2000; step += 1) acceptance.judged(15, 15);
    expect(
      guessesWorthwhile(
        [{ rate: acceptance.rate, guesses: 15, repeated: null }],
        step(() => 1000),
      ),
    ).toBe(15);
  });

  it('makes none where rows are dear or guesses seldom come true', () => {
    expect(
      guessesWorthwhile(
        [{ rate: 0.7, guesses: 15, repeated: null }],
        step((rows) => rows),
      ),
    ).toBe(0);
    expect(
      guessesWorthwhile(
        [{ rate: 0.02, guesses: 15, repeated: null }],
        step((rows) => 1000 + 60 * rows),
      ),
    ).toBe(0);
    expect(
      guessesWorthwhile(
        [],
        step(() => 1),
      ),
    ).toBe(0);
  });

  it('makes none where what they save is less than the wait for the tokens', () => {
    const guessers = [{ rate: 0.5, guesses: 15, repeated: null }];
    expect(
      guessesWorthwhile(
        guessers,
        step(() => 1000),
      ),
    ).toBeGreaterThan(0);
    expect(guessesWorthwhile(guessers, { ...step(() => 1000), waitMicros: 1000 })).toBe(0);
  });

  it('makes fewer, or none, where what was right must be computed again behind one that is refused', () => {
    const dear = step((rows) => 1000 + 100 * rows);
    const count = (repeated: number | null): number =>
      guessesWorthwhile([{ rate: 0.7, guesses: 15, repeated }], dear);
    expect([null, 1, 6, 60].map(count)).toEqual([4, 4, 3, 0]);
    // What is certain costs nothing more.
    expect(guessesWorthwhile([{ rate: 1, guesses: 15, repeated: 60 }], dear)).toBe(15);
  });
});
