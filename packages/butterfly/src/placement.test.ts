import { availableParallelism } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { threadsPerWorker } from './machine.js';
import { cpusOfWorkers, shareCpus, type Cpu } from './placement.js';

/** `cores` of two threads each, which are CPUs c and c + `distance`. */
function paired(cores: number, distance: number): Cpu[] {
  return Array.from({ length: cores * 2 }, (_, cpu) => ({
    cpu,
    core: distance === 1 ? cpu - (cpu % 2) : cpu % distance,
  }));
}
const plain = (count: number): Cpu[] => Array.from({ length: count }, (_, cpu) => ({ cpu, core: cpu }));

describe('shareCpus', () => {
  it.each<[string, Cpu[], number, number, number[][] | null]>([
    ['a core for each', plain(2), 2, 1, [[0], [1]]],
    ['neighbours for each', plain(8), 2, 3, [[0, 1, 2], [3, 4, 5]]], // prettier-ignore
    ['nothing when there are too few', plain(3), 2, 2, null],
    ['whole cores while there are any', paired(4, 1), 2, 2, [[0, 2], [4, 6]]], // prettier-ignore
    ['both threads of its cores when all are in use', paired(2, 1), 2, 2, [[0, 1], [2, 3]]], // prettier-ignore
    ['the same where the threads are far apart', paired(4, 4), 2, 2, [[0, 1], [2, 3]]], // prettier-ignore
    ['and where all of those are in use', paired(2, 2), 2, 2, [[0, 2], [1, 3]]], // prettier-ignore
  ])('gives %s', (_, cpus, workers, threads, shares) => {
    expect(shareCpus(cpus, workers, threads)).toEqual(shares);
  });

  it('never gives a CPU twice, one that there is not, or more or fewer than asked for', () => {
    const anyCpus = fc.uniqueArray(fc.record({ cpu: fc.nat(99), core: fc.nat(20) }), {
      selector: ({ cpu }) => cpu,
    });
    fc.assert(
      fc.property(anyCpus, fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }), (cpus, w, t) => {
        const shares = shareCpus(cpus, w, t);
        if (w * t > cpus.length) {
          expect(shares).toBeNull();
          return;
        }
        expect(shares?.map((share) => share.length)).toEqual(Array<number>(w).fill(t));
        const given = shares?.flat() ?? [];
        expect(new Set(given).size).toBe(given.length);
        for (const cpu of given) expect(cpus.map((each) => each.cpu)).toContain(cpu);
      }),
    );
  });
});

it('does not pin one worker, nor more threads than there are', () => {
  expect(cpusOfWorkers(1, 1)).toBeNull();
  expect(cpusOfWorkers(2, 100_000)).toBeNull();
});

it('shares the cores evenly, and gives every worker a thread', () => {
  const cores = availableParallelism();
  for (let workers = 0; workers < 3 * cores; workers++) {
    const threads = threadsPerWorker(workers);
    expect(threads).toBe(Math.max(1, Math.floor(cores / Math.max(1, workers))));
    if (workers >= 1 && workers <= cores) expect(workers * threads).toBeLessThanOrEqual(cores);
  }
});
