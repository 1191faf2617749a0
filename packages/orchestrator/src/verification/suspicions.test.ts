import { expect, it } from 'vitest';
import { Suspicions } from './suspicions.js';

it('lets those in again whom nobody accused but one that is accused itself', () => {
  const suspicions = new Suspicions();
  expect(suspicions.accuse('anna', 'bert').readmitted).toEqual([]);
  expect(suspicions.accuse('carl', 'bert').readmitted).toEqual([]);
  suspicions.accuse('carl', 'dora');
  expect(suspicions.accuse('bert', 'dora').readmitted).toEqual(['anna']);
  expect(['anna', 'bert', 'carl'].map((name) => suspicions.isAccused(name))).toEqual([false, true, true]);
});

it('remembers so many and no more', () => {
  const suspicions = new Suspicions();
  for (let index = 0; index < 1000; index++) suspicions.accuse(`worker ${index}`, 'anna');
  const remembered = Array.from({ length: 1000 }, (_, index) => suspicions.isAccused(`worker ${index}`));
  expect(remembered.filter(Boolean)).toHaveLength(64);
  expect(remembered.at(-1)).toBe(true);
});
