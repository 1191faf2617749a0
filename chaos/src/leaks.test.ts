import { expect, it } from 'vitest';
import { searchLeaks } from './leaks/search.js';

/** What is all there or not, in so short a run: memory only shows in thousands of requests, by `leaks-main.ts`. */
const counted = new Set(['files', 'sockets', 'threads', 'natives']);

it('requests, loads, joins and failures leave nothing behind', { timeout: 240_000 }, async () => {
  const report = await searchLeaks({
    requests: 48,
    joins: 8,
    loads: 6,
    failures: 2,
    samples: 2,
    workers: 2,
    // Each takes seconds to measure itself.
    hasVisitors: false,
  });
  expect(report.wrong).toEqual([]);
  const { controlCuts, dataCuts, kills } = report.failures;
  expect([controlCuts + dataCuts + kills, report.phases.length]).toEqual([2, 4]);
  const grown = report.phases.flatMap(({ phase, processes }) =>
    processes.flatMap(({ name, courses }) =>
      courses
        .filter(({ metric, isFlat }) => counted.has(metric) && !isFlat)
        .map(({ metric, middle, last }) => `${phase}: ${metric} of ${name} ${middle} -> ${last}`),
    ),
  );
  expect(grown).toEqual([]);
  // The orchestrator and both workers were looked at.
  expect(report.phases.map(({ processes }) => processes.length)).toEqual([3, 3, 3, 3]);
});
