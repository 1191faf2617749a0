import { expect, it } from 'vitest';
import { searchLeaks } from './leaks/search.js';

/** What is all there or not, in so short a run: memory only shows in thousands of requests, by `leaks-main.ts`. */
const counted = new Set(['files', 'sockets', 'threads', 'natives']);

it('requests, joins and failures leave nothing behind', { timeout: 240_000 }, async () => {
  const report = await searchLeaks({
    requests: 64,
    joins: 4,
    failures: 4,
    samples: 2,
    workers: 4,
  });
  expect(report.wrong).toEqual([]);
  const { controlCuts, dataCuts, kills } = report.failures;
  expect([controlCuts + dataCuts + kills, report.realJoins, report.phases.length]).toEqual([4, 2, 3]);
  const grown = report.phases.flatMap(({ phase, processes }) =>
    processes.flatMap(({ name, courses }) =>
      courses
        .filter(({ metric, isFlat }) => counted.has(metric) && !isFlat)
        .map(({ metric, middle, last }) => `${phase}: ${metric} of ${name} ${middle} -> ${last}`),
    ),
  );
  expect(grown).toEqual([]);
  // Everybody was looked at: the orchestrator and four workers, and in the end those that are not killed.
  expect(report.phases.map(({ processes }) => processes.length)).toEqual([5, 5, 3]);
});
