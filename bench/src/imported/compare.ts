import { median } from '../load/statistics.js';
import type { BatchLoad, BatchSpeeds } from './load.js';

interface Side {
  run(load: BatchLoad): Promise<BatchSpeeds>;
}

export interface ComparedLoad {
  readonly sequences: number;
  readonly ours: BatchSpeeds;
  readonly theirs: BatchSpeeds;
  /** Medians of the ratios of the rounds, ours over theirs. */
  readonly prefillRatio: number;
  readonly decodeRatio: number;
  readonly runs: { readonly ours: readonly BatchSpeeds[]; readonly theirs: readonly BatchSpeeds[] };
}

/** Runs each load on both sides turn by turn; who begins changes from round to round. The first round warms up. */
export async function compareSides(
  ours: Side,
  theirs: Side,
  loads: readonly BatchLoad[],
  repeats: number,
): Promise<ComparedLoad[]> {
  const results: ComparedLoad[] = [];
  for (const load of loads) {
    const runs = { ours: [] as BatchSpeeds[], theirs: [] as BatchSpeeds[] };
    for (let round = 0; round <= repeats; round++) {
      const sides = [['ours', ours] as const, ['theirs', theirs] as const];
      for (const [name, side] of round % 2 === 0 ? sides : sides.reverse()) {
        const speeds = await side.run(load);
        if (round > 0) runs[name].push(speeds);
      }
    }
    const ratio = (key: keyof BatchSpeeds): number =>
      median(runs.ours.map((run, i) => run[key] / (runs.theirs[i]?.[key] ?? NaN)));
    results.push({
      sequences: load.sequences,
      ours: mediansOf(runs.ours),
      theirs: mediansOf(runs.theirs),
      prefillRatio: ratio('prefillPerSecond'),
      decodeRatio: ratio('decodePerSecond'),
      runs,
    });
  }
  return results;
}

function mediansOf(runs: readonly BatchSpeeds[]): BatchSpeeds {
  return {
    prefillPerSecond: median(runs.map((run) => run.prefillPerSecond)),
    decodePerSecond: median(runs.map((run) => run.decodePerSecond)),
  };
}

/** Rows of a table: of each load its prompts and its decoding. */
export function comparedRows(title: string, results: readonly ComparedLoad[]): (string | number)[][] {
  return results.flatMap(({ sequences, ours, theirs, prefillRatio, decodeRatio }) => [
    [title, String(sequences), 'prefill', ours.prefillPerSecond, theirs.prefillPerSecond, prefillRatio],
    [title, String(sequences), 'decode', ours.decodePerSecond, theirs.decodePerSecond, decodeRatio],
  ]);
}
