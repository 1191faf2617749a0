/** Greedy decoding of random weights falls into cycles; longer ones than this are not looked for. */
const periodMax = 64;
/** How often a cycle must have come round before it counts as one. */
const rounds = 3;

/** The period of the cycle in which a text ends, or null if it ends in none. */
export function cycleAtEnd(tokens: readonly number[]): number | null {
  for (let period = 1; period <= periodMax && period * rounds <= tokens.length; period++) {
    const end = tokens.slice(-period * rounds);
    if (end.every((token, index) => index < period || token === end[index - period])) return period;
  }
  return null;
}
