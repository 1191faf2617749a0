import { figuresOf, type LoadFigures, type LoadRun } from './run-load.js';
import { median, medianSpread } from './statistics.js';
import { takeTurns } from './turns.js';

/** Loads that are to be compared, turn by turn. Gives the medians of each. */
export async function interleave<K extends string>(
  rounds: number,
  loads: Readonly<Record<K, () => Promise<LoadRun>>>,
): Promise<Record<K, LoadFigures>> {
  const sides = mapValues(loads, (load) => async () => figuresOf(await load()));
  return mapValues(await takeTurns(rounds, sides), medianFigures);
}

function mapValues<K extends string, V, W>(
  values: Readonly<Record<K, V>>,
  map: (value: V) => W,
): Record<K, W> {
  const entries = Object.entries<V>(values).map(([name, value]) => [name, map(value)] as const);
  return Object.fromEntries(entries) as Record<K, W>;
}

function medianFigures(runs: readonly LoadFigures[]): LoadFigures {
  return {
    tokensPerSecond: median(runs.map((run) => run.tokensPerSecond)),
    requestsPerSecond: median(runs.map((run) => run.requestsPerSecond)),
    firstTokenMs: medianSpread(runs.map((run) => run.firstTokenMs)),
    betweenTokensMs: medianSpread(runs.map((run) => run.betweenTokensMs)),
  };
}
