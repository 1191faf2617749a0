import { deadlines, limits } from '@butterfly/common';
import fc from 'fast-check';

/** What happens next; `pick` chooses among those that it can happen to. */
export const anyHappening = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      what: fc.constant('join' as const),
      memoryBytes: fc.integer({ min: 100, max: 2000 }),
      micros: fc.integer({ min: 50, max: 500 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('return' as const),
      pick: fc.nat(),
      shards: fc.nat(limits.shardsHeldMax),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constant('leave' as const), pick: fc.nat(), isOrderly: fc.boolean() }),
  },
  fc.record({ what: fc.constant('fail' as const), pick: fc.nat(), isLink: fc.boolean() }),
  fc.record({
    what: fc.constantFrom(
      'prepared',
      'unprepared',
      'progress',
      'ready',
      'stale',
      'stall',
      'pass',
      'drain',
      'relay',
    ),
    pick: fc.nat(),
  }),
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('time' as const),
      ms: fc.constantFrom(100, 300, 5_000, 30_000, deadlines.loadStallMs + 1, deadlines.canaryMs + 1),
      isIdle: fc.boolean(),
    }),
  },
  // Otherwise no epoch would ever come far.
  { weight: 4, arbitrary: fc.record({ what: fc.constant('proceed' as const) }) },
);
export type Happening = typeof anyHappening extends fc.Arbitrary<infer T> ? T : never;
