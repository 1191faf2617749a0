import { expect, it } from 'vitest';
import { ScriptedRun, tokensFrom } from './testing/scripted-run.js';

it('finds what a draft computed of a text in the last round, so that a round costs what is new', () => {
  const config = {
    contextTokensMax: 512,
    arenaSlots: 2048,
    stages: 1,
    goesAhead: false,
    runningMax: 4,
    guessesMax: 0,
  };
  const draft = new ScriptedRun(config, (known) => 5000 + known.length);
  let known = tokensFrom(1, 100);
  const rowsOfRounds: number[][] = [];
  // Of four guesses, all are right, then two, then none; behind them comes a token that the draft has not guessed.
  for (const [round, right] of [4, 2, 0, 4, 0].entries()) {
    draft.submit(round, known, { outputTokensMax: 4 });
    const { steps } = draft.finish();
    rowsOfRounds.push(steps.map(({ tokens }) => tokens.length));
    const guesses = draft.known(round).slice(known.length);
    known = [...known, ...guesses.slice(0, right), 9000 + round];
  }
  const [first, ...others] = rowsOfRounds;
  expect(first).toEqual([100, 1, 1, 1]);
  // A prompt's last token is never computed alone.
  expect(others).toEqual(Array.from({ length: 4 }, () => [2, 1, 1, 1]));
});
