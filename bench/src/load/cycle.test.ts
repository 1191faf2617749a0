import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cycleAtEnd } from './cycle.js';

it('finds the cycle that a text ends in', () => {
  expect(cycleAtEnd([9, 8, 1, 2, 1, 2, 1, 2])).toBe(2);
  expect(cycleAtEnd([5, 5, 5])).toBe(1);
});

it('finds none where there is none, or where it came round too seldom', () => {
  expect(cycleAtEnd([])).toBeNull();
  expect(cycleAtEnd([1, 2, 3, 4, 5, 6, 7])).toBeNull();
  expect(cycleAtEnd([1, 2, 3, 1, 2, 3])).toBeNull();
  expect(cycleAtEnd([1, 2, 1, 2, 1, 2, 3])).toBeNull();
});

it('finds a divisor of any period that is there', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3)),
      fc.array(fc.nat(3), { minLength: 1, maxLength: 64 }),
      (before, cycle) => {
        const period = cycleAtEnd([...before, ...cycle, ...cycle, ...cycle]);
        expect(period).not.toBeNull();
        expect(period).toBeLessThanOrEqual(cycle.length);
      },
    ),
  );
});
