/** Prompts are cut for a checkpoint this often, in whole distances that are worth one. */
const strideDistances = 8;
/**
 * How much of a prompt lies behind its last checkpoint, as a share of that distance: more than templates put behind the
 * last message for the answer to begin, since in the next turn something else may stand there.
 */
const endShare = 1 / 16;
/** A single row is computed as what is decoded: none is left alone (decision 0027). */
const rowsMin = 2;

/** A prompt, of which the first `cached` tokens need not be computed. */
export interface CutPrompt {
  readonly cached: number;
  readonly tokens: number;
  /** Slots for checkpoints beside those that running sequences need. */
  readonly budget: number;
  /** Tokens that are worth a checkpoint. */
  readonly distance: number;
}

/**
 * Behind how many tokens to cut a prompt, ascending, so that a state is there to be kept: near its end, for the same
 * prompt again and for what goes on otherwise behind the last message; and in the midst of long ones, for others that
 * share their beginning, with half of the budget at most.
 */
export function checkpointPositions({ cached, tokens, budget, distance }: CutPrompt): number[] {
  const end = tokens - Math.max(rowsMin, Math.floor(distance * endShare));
  if (budget < 1 || end - cached < distance) return [];
  let stride = distance * strideDistances;
  let inMidst = multiples(stride, cached + distance, end - rowsMin);
  while (inMidst.length > Math.floor(budget / 2)) {
    stride *= 2;
    inMidst = multiples(stride, cached + distance, end - rowsMin);
  }
  return [...inMidst, end];
}

/** Multiples of a number, so that other prompts with the same beginning are cut at the same places. */
function multiples(of: number, first: number, last: number): number[] {
  const positions: number[] = [];
  for (let at = Math.ceil(first / of) * of; at <= last; at += of) positions.push(at);
  return positions;
}
