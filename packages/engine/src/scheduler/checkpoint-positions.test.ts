import fc from 'fast-check';
import { expect, it } from 'vitest';
import { checkpointPositions } from './checkpoint-positions.js';

const usual = { cached: 0, budget: 4, distance: 256 };

it('cuts a prompt near its end, and in the midst of a long one at places that others share', () => {
  expect(checkpointPositions({ ...usual, tokens: 271 })).toEqual([]);
  expect(checkpointPositions({ ...usual, tokens: 272 })).toEqual([256]);
  expect(checkpointPositions({ ...usual, tokens: 1000 })).toEqual([984]);
  expect(checkpointPositions({ ...usual, tokens: 5000 })).toEqual([2048, 4096, 4984]);
  expect(checkpointPositions({ ...usual, tokens: 10_000 })).toEqual([4096, 8192, 9984]);
  expect(checkpointPositions({ ...usual, tokens: 10_000, budget: 1 })).toEqual([9984]);
  expect(checkpointPositions({ ...usual, tokens: 10_000, budget: 0 })).toEqual([]);
});

it('cuts nothing that is cached, nor soon behind it', () => {
  expect(checkpointPositions({ ...usual, tokens: 5000, cached: 4000 })).toEqual([4984]);
  expect(checkpointPositions({ ...usual, tokens: 5000, cached: 3840 })).toEqual([4096, 4984]);
  expect(checkpointPositions({ ...usual, tokens: 5000, cached: 4900 })).toEqual([]);
});

it('leaves two rows on either side of each cut, and keeps to the budget', () => {
  const prompt = fc.record({
    cached: fc.nat(3000),
    tokens: fc.nat(20_000),
    budget: fc.nat(12),
    distance: fc.integer({ min: 1, max: 600 }),
  });
  fc.assert(
    fc.property(prompt, (cut) => {
      const positions = checkpointPositions(cut);
      const bounds = [cut.cached, ...positions, cut.tokens];
      const gaps = bounds.slice(1).map((each, index) => each - (bounds[index] ?? 0));
      if (positions.length > 0) {
        expect(Math.min(...gaps.slice(1))).toBeGreaterThanOrEqual(2);
        expect(gaps[0]).toBeGreaterThanOrEqual(cut.distance);
      }
      expect(positions.length).toBeLessThanOrEqual(Math.min(cut.budget, cut.budget / 2 + 1));
    }),
  );
});
