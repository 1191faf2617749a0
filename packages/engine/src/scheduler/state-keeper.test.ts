import { emptyState } from '@butterfly/wire';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { PlaceOwner } from './place-keeper.js';
import { StateKeeper } from './state-keeper.js';

const ownersMax = 3;
const spareSlots = 2;
const stateSlots = 2 + 2 * ownersMax + spareSlots;
const blockTokens = 2;
/** What is always said at a position, so that all owners have equal prefixes. */
const tokenAt = (position: number): number => position % 5;
const wrongToken = 99;

/** A sequence whose steps are computed at once over slots that hold the tokens behind which they are. */
interface Runner extends PlaceOwner {
  readonly regionId: number;
  readonly known: number[];
  position: number;
}

class Bench {
  readonly keeper = new StateKeeper(stateSlots, blockTokens);
  readonly #slots = new Map<number, string>([[emptyState, '']]);
  readonly #runners: (Runner | null)[] = Array.from({ length: ownersMax }, () => null);
  #regionId = 0;
  refused = 0;
  kept = 0;

  runner(index: number): Runner {
    return (this.#runners[index] ??= this.#enter());
  }

  #enter(): Runner {
    const regionId = this.#regionId++;
    const known = Array.from({ length: 6 + ((7 * regionId) % 40) }, (_, position) => tokenAt(position));
    const found = this.keeper.checkpoints.longest(readerOf(known), known.length - 1)?.tokens ?? 0;
    const runner = { regionId, known, position: found };
    this.keeper.checkpoints.set(regionId, readerOf(known), found);
    this.keeper.entered(runner, found);
    if (found > 0) this.kept += 1;
    return runner;
  }

  /** A step of all that is known, and of guesses of which the first `right` are what will be said. */
  step(runner: Runner, guesses: number, right: number, isAhead = false): void {
    const { known, position } = runner;
    const end = isAhead ? position + 1 : known.length;
    this.keeper.prepare([{ owner: runner, start: position, end: end + guesses }], () => undefined);
    const { state } = this.keeper.placesOf(runner);
    expect(this.#slots.get(state?.from ?? NaN)).toBe(known.slice(0, position).join());
    const guessed = Array.from({ length: guesses }, (_, i) => (i < right ? tokenAt(end + i) : wrongToken));
    const computed = isAhead ? [...known, tokenAt(known.length)] : [...known, ...guessed];
    this.#slots.set(state?.to ?? NaN, computed.slice(0, end + guesses).join());
    this.keeper.checkpoints.set(runner.regionId, readerOf(known), Math.min(end, known.length));
    this.keeper.dispatched(runner, end, { guesses, isAhead, isKept: false });
    runner.position = end + guesses;
  }

  /** The answer to the step that was made last, or the one before, where that went ahead. */
  answer(runner: Runner, guesses: number, right: number, isAhead = false): void {
    const { known } = runner;
    const confirmed = Math.min(guesses, right);
    const computed = known.length + confirmed;
    for (let i = 0; i <= confirmed; i += 1) known.push(tokenAt(known.length));
    const from = this.keeper.confirmed(runner, isAhead ? known.length : computed);
    if (!isAhead) expect(from === computed).toBe(confirmed === guesses);
    if (confirmed < guesses) this.refused += 1;
    runner.position = from;
  }

  leave(index: number, tokens: (runner: Runner) => number): void {
    const runner = this.#runners[index];
    if (!runner) return;
    this.keeper.left(runner, tokens(runner));
    this.#runners[index] = null;
  }
}

function readerOf(tokens: readonly number[]): { readonly length: number; at(index: number): number } {
  return {
    get length() {
      return tokens.length;
    },
    at: (index) => tokens[index] ?? -1,
  };
}

const action = fc.record({
  index: fc.nat(ownersMax - 1),
  kind: fc.constantFrom('decode', 'guess', 'guess', 'ahead', 'leave', 'cancel'),
  guesses: fc.integer({ min: 1, max: 5 }),
  right: fc.nat(5),
});

it('reads the state behind exactly the tokens before a step, whatever was guessed, went ahead or left', () => {
  const seen = { refused: 0, kept: 0 };
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const bench = new Bench();
      for (const { index, kind, guesses, right } of actions) {
        const runner = bench.runner(index);
        switch (kind) {
          case 'decode':
            bench.step(runner, 0, 0);
            bench.answer(runner, 0, 0);
            break;
          case 'guess':
            bench.step(runner, guesses, right);
            bench.answer(runner, guesses, right);
            break;
          case 'ahead':
            bench.step(runner, 0, 0);
            bench.step(runner, 0, 0, true);
            bench.answer(runner, 0, 0, true);
            bench.answer(runner, 0, 0);
            break;
          case 'leave':
            bench.leave(index, ({ position }) => position);
            break;
          case 'cancel':
            // While guesses are under way, of which none may become a checkpoint.
            bench.step(runner, guesses, right);
            bench.leave(index, ({ known }) => known.length);
            break;
          default:
            kind satisfies never;
        }
      }
      seen.refused += bench.refused;
      seen.kept += bench.kept;
      for (let index = 0; index < ownersMax; index += 1) bench.leave(index, () => 0);
      while (bench.keeper.checkpoints.dropOldest());
      // All slots are free again.
      const owners = Array.from({ length: 2 * ownersMax + spareSlots }, (_, id) => ({ regionId: 1000 + id }));
      for (const owner of owners) bench.keeper.entered(owner, 0);
      bench.keeper.prepare(
        owners.map((owner) => ({ owner, start: 0, end: 1 })),
        () => undefined,
      );
    }),
    { numRuns: 300 },
  );
  expect(Math.min(seen.refused, seen.kept)).toBeGreaterThan(50);
});
