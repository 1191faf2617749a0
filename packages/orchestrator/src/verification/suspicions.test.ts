import { expect, it } from 'vitest';
import { Suspicions } from './suspicions.js';

const accusedIn = (suspicions: Suspicions): string[] => suspicions.accused.map(({ identity }) => identity);

it('lets those in again whom nobody accused but one that is accused itself', () => {
  const suspicions = new Suspicions();
  expect(suspicions.accuse('anna', 'bert', 'Anna.').readmitted).toEqual([]);
  expect(suspicions.accuse('carl', 'bert', 'Carl.').readmitted).toEqual([]);
  suspicions.accuse('carl', 'dora', 'Carl again.');
  expect(suspicions.accuse('bert', 'dora', 'Bert.').readmitted).toEqual(['anna']);
  expect(suspicions.accused).toEqual([
    { identity: 'carl', words: 'Carl again.' },
    { identity: 'bert', words: 'Bert.' },
  ]);
});

it('lets them in when the last of several accusers is accused', () => {
  const suspicions = new Suspicions();
  for (const accuser of ['bert', 'carl']) suspicions.accuse('anna', accuser, '');
  expect(suspicions.accuse('bert', 'dora', '').readmitted).toEqual([]);
  expect(suspicions.accuse('carl', 'dora', '').readmitted).toEqual(['anna']);
});

it('remembers so many and no more', () => {
  const suspicions = new Suspicions();
  for (let index = 0; index < 1000; index++) suspicions.accuse(`worker ${index}`, 'anna', '');
  expect(accusedIn(suspicions)).toHaveLength(64);
  expect(accusedIn(suspicions).at(-1)).toBe('worker 999');
});
