/** The time that a step of so many rows takes in one stage. */
export interface StepTime {
  readonly rows: number;
  readonly micros: number;
}

/**
 * The time of a step by what was measured: on straight lines between the points, and behind the last in proportion.
 * @param curve with ascending rows; without any, a step takes no time.
 */
export function stepMicros(rows: number, curve: readonly StepTime[]): number {
  const next = curve.findIndex((point) => point.rows >= rows);
  const above = curve[next];
  const below = next === -1 ? curve.at(-1) : curve[next - 1];
  if (!above) return below ? (below.micros * rows) / below.rows : 0;
  if (!below || above.rows === rows) return above.micros;
  const share = (rows - below.rows) / (above.rows - below.rows);
  return below.micros + share * (above.micros - below.micros);
}
