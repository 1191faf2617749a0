import { figuresOf, type LoadFigures, type LoadRun } from './run-load.js';
import { median, medianSpread } from './statistics.js';

/**
 * Loads that are to be compared, turn by turn, so that what the machine does meanwhile meets all of them; who begins
 * changes from round to round. Gives the medians of each.
 */
export async function interleave<K extends string>(
  rounds: number,
  loads: Readonly<Record<K, () => Promise<LoadRun>>>,
): Promise<Record<K, LoadFigures>> {
  const names = Object.keys(loads) as K[];
  const runs = new Map<K, LoadFigures[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed())
      runs.get(name)?.push(figuresOf(await loads[name]()));
  }
  const medians = names.map((name) => [name, medianFigures(runs.get(name) ?? [])] as const);
  return Object.fromEntries(medians) as Record<K, LoadFigures>;
}

function medianFigures(runs: readonly LoadFigures[]): LoadFigures {
  return {
    tokensPerSecond: median(runs.map((run) => run.tokensPerSecond)),
    requestsPerSecond: median(runs.map((run) => run.requestsPerSecond)),
    firstTokenMs: medianSpread(runs.map((run) => run.firstTokenMs)),
    betweenTokensMs: medianSpread(runs.map((run) => run.betweenTokensMs)),
  };
}
