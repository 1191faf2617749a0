import fc from 'fast-check';
import { expect, it } from 'vitest';
import { placementsOf, compileProblem } from './problem.js';
import { exactSearch, isExactFeasible } from './search-exact.js';
import { heuristicSearch } from './search-heuristic.js';
import { solve } from './solve.js';
import { predict } from '../cost.js';
import { clusters } from '../testing/problems.js';

/** Of what the best plan costs; where memory fits to the byte, few orders are possible, and not all of them are looked at. */
const [usualMax, outlierMax] = [1.1, 1.25];
const outlierShareMax = 0.02;

it('finds plans that are within a tenth of the best, but for a few', () => {
  const ratios: number[] = [];
  fc.assert(
    fc.property(clusters(6, 8, 8, 20), (input) => {
      const problem = compileProblem(input, input.workers);
      expect(isExactFeasible(problem)).toBe(true);
      let best = Infinity;
      for (const goal of problem.goals) {
        const stages = goal.kind === 'throughput' ? goal.stagesMin : 1;
        if (stages <= input.workers.length)
          best = Math.min(best, solve(goal, problem, exactSearch(problem, stages), best)?.cost ?? Infinity);
      }
      const found = heuristicSearch(problem, 1, true);
      if (found === null) {
        expect(best).toBe(Infinity);
        return;
      }
      ratios.push(found.cost / best);
      expect(found.cost).toBeLessThanOrEqual(best * outlierMax);
      const { predicted } = predict(placementsOf(found.parts, problem), input);
      if (input.objective === 'latency') expect(found.cost).toBeCloseTo(predicted.latencyMicros, 4);
      else expect(predicted.tokensPerSecond).toBeGreaterThanOrEqual((1e6 / found.cost) * (1 - 1e-9));
    }),
    { numRuns: 100, seed: 5 },
  );
  const outliers = ratios.filter((ratio) => ratio > usualMax).length;
  expect(ratios.length).toBeGreaterThan(30);
  expect(outliers).toBeLessThanOrEqual(outlierShareMax * ratios.length);
});
