import { median } from '../load/statistics.js';
import type { BatchLoad, BatchSpeeds, PhaseSpeed } from './load.js';

/** Decoding steps of a round that does not count. */
const warmUpSteps = 1;

interface Side {
  run(load: BatchLoad, decodeSteps: number): Promise<BatchSpeeds>;
}

/** Medians, and medians of the ratios of the rounds, ours over theirs. */
interface ComparedPhase {
  readonly ours: PhaseSpeed;
  readonly theirs: PhaseSpeed;
  readonly ratio: number;
  /** For the same processor time. */
  readonly cpuRatio: number;
}

export interface ComparedLoad {
  readonly sequences: number;
  readonly prefill: ComparedPhase;
  readonly decode: ComparedPhase;
  readonly runs: { readonly ours: readonly BatchSpeeds[]; readonly theirs: readonly BatchSpeeds[] };
}

/** Runs each load on both sides turn by turn; who begins changes from round to round. The first round warms up, with few steps. */
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
        const speeds = await side.run(load, round === 0 ? warmUpSteps : load.decodeSteps);
        if (round > 0) runs[name].push(speeds);
      }
    }
    results.push({
      sequences: load.sequences,
      prefill: comparePhase('prefill', runs),
      decode: comparePhase('decode', runs),
      runs,
    });
  }
  return results;
}

function comparePhase(phase: keyof BatchSpeeds, { ours, theirs }: ComparedLoad['runs']): ComparedPhase {
  const medianOf = (runs: readonly BatchSpeeds[], key: keyof PhaseSpeed): number =>
    median(runs.map((run) => run[phase][key]));
  const speed = (runs: readonly BatchSpeeds[]): PhaseSpeed => ({
    perSecond: medianOf(runs, 'perSecond'),
    perCpuSecond: medianOf(runs, 'perCpuSecond'),
  });
  const ratio = (key: keyof PhaseSpeed): number =>
    median(ours.map((run, i) => run[phase][key] / (theirs[i]?.[phase][key] ?? NaN)));
  return {
    ours: speed(ours),
    theirs: speed(theirs),
    ratio: ratio('perSecond'),
    cpuRatio: ratio('perCpuSecond'),
  };
}

/** Rows of a table: of each load its prompts and its decoding. */
export function comparedRows(title: string, results: readonly ComparedLoad[]): (string | number)[][] {
  return results.flatMap(({ sequences, ...phases }) =>
    (['prefill', 'decode'] as const).map((phase) => {
      const { ours, theirs, ratio, cpuRatio } = phases[phase];
      return [title, String(sequences), phase, ours.perSecond, theirs.perSecond, ratio, cpuRatio];
    }),
  );
}
