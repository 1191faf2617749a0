import type { CompletionClient } from '../load/completion-client.js';
import { median } from '../load/statistics.js';
import { takeTurns } from '../load/turns.js';
import type { Load, Round } from './loads.js';

/** Medians of one load on both sides. */
export interface Beside {
  readonly llamaServer: Round;
  readonly butterfly: Round;
  /** Above 1 where Butterfly is ahead. */
  readonly ratio: number;
}

/** One load on both sides, turn by turn. Round 0 of a load is for warming up, and does not count here. */
export async function inTurn(
  load: Load,
  ours: CompletionClient,
  theirs: CompletionClient,
  repeats: number,
): Promise<Beside> {
  const { butterfly, llamaServer } = await takeTurns(repeats, {
    butterfly: (turn) => load.run(ours, turn + 1),
    llamaServer: (turn) => load.run(theirs, turn + 1),
  });
  return besideOf(load, butterfly, llamaServer);
}

/** The medians of both, and the ratio of their figures, turned round where the figure is a time. */
export function besideOf(
  { isTime }: Pick<Load, 'isTime'>,
  butterfly: readonly Round[],
  llamaServer: readonly Round[],
): Beside {
  const [ours, theirs] = [medianOf(butterfly), medianOf(llamaServer)];
  const ratio = isTime ? theirs.figure / ours.figure : ours.figure / theirs.figure;
  return { llamaServer: theirs, butterfly: ours, ratio };
}

function medianOf(rounds: readonly Round[]): Round {
  return {
    figure: median(rounds.map(({ figure }) => figure)),
    firstTokenMs: median(rounds.map(({ firstTokenMs }) => firstTokenMs)),
  };
}
