import { expect, it } from 'vitest';
import { faultKinds, faultsOf, type Fault } from './schedule.js';

const take = (seed: number, count: number): Fault[] => {
  const faults: Fault[] = [];
  for (const fault of faultsOf(seed, 5)) {
    faults.push(fault);
    if (faults.length === count) break;
  }
  return faults;
};

it('draws the same faults from the same seed, each kind before any comes again', () => {
  expect(take(3, 40)).toEqual(take(3, 40));
  expect(take(3, 40)).not.toEqual(take(4, 40));
  const kinds = take(3, faultKinds.length).map(({ kind }) => kind);
  expect([...kinds].sort()).toEqual([...faultKinds].sort());
});

it('strikes workers that there are, two of them where it takes two', () => {
  for (const { worker, other } of take(9, 200)) {
    expect(worker).toBeGreaterThanOrEqual(0);
    expect(worker).toBeLessThan(5);
    expect(other).toBeLessThan(5);
    expect(other).not.toBe(worker);
  }
});
