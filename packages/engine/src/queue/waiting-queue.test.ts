import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { precedes, WaitingQueue, type Ranked } from './waiting-queue.js';

const action = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('add'), rank: fc.integer({ min: -3, max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('deleteHead') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete'), place: fc.nat(50) }) },
);

describe('WaitingQueue', () => {
  it('is a sorted list that anybody can leave', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
        const queue = new WaitingQueue<Ranked>();
        const sorted: Ranked[] = [];
        for (const [id, each] of actions.entries()) {
          if ('rank' in each) {
            const item = { id, rank: each.rank };
            queue.add(item);
            sorted.push(item);
            sorted.sort((a, b) => a.rank - b.rank || a.id - b.id);
          } else {
            const place = 'place' in each ? each.place % Math.max(1, sorted.length) : 0;
            const [item] = sorted.splice(place, 1);
            if (item === undefined) continue;
            expect([queue.has(item), queue.delete(item)]).toEqual([true, true]);
            expect([queue.has(item), queue.delete(item)]).toEqual([false, false]);
          }
          expect([queue.head, queue.size]).toEqual([sorted[0], sorted.length]);
        }
        for (const item of sorted) {
          expect(queue.head).toBe(item);
          queue.delete(item);
        }
        expect([queue.head, queue.size]).toEqual([undefined, 0]);
      }),
      { numRuns: 300 },
    );
  });

  it('puts the lower rank first, and of equals the one with the lower id', () => {
    expect(precedes({ id: 9, rank: 1 }, { id: 1, rank: 2 })).toBe(true);
    expect(precedes({ id: 1, rank: 2 }, { id: 2, rank: 2 })).toBe(true);
    expect(precedes({ id: 2, rank: 2 }, { id: 2, rank: 2 })).toBe(false);
  });
});
