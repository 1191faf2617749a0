import { stepMicros, type StepTime } from './step-time.js';

/** Rows whose arithmetic takes as long as streaming the weights once, where nothing is measured: a common CPU. */
const balancedRows = 16;
const assumedCurve: readonly StepTime[] = [1, 8, 64, 512].map((rows) => ({
  rows,
  micros: 1000 * (1 + rows / balancedRows),
}));

/** How much one step counts beside what is known. */
const observedWeight = 0.1;

/**
 * The time of a step over its rows, as measured on the slowest stage. It is no smooth function: kernels take rows in
 * groups, so it has cliffs and sweet spots. Workers fill a step up to the next sweet spot where that is faster, so
 * between two measured points a step is taken to cost no more than at the upper one.
 */
export class StepCurve {
  static readonly assumed = new StepCurve(assumedCurve);
  readonly #points: { readonly rows: number; micros: number }[];

  /** @param points with ascending rows, at least one */
  constructor(points: readonly StepTime[]) {
    this.#points = points.map((point) => ({ ...point }));
  }

  /** The slowest stage decides the pace at each number of rows. */
  static slowest(curves: readonly (readonly StepTime[])[]): StepCurve {
    const known = curves.filter((points) => points.length > 0);
    if (known.length === 0) return new StepCurve(assumedCurve);
    const rows = [...new Set(known.flatMap((points) => points.map((point) => point.rows)))].sort(
      (a, b) => a - b,
    );
    const all = known.map((points) => new StepCurve(points));
    return new StepCurve(
      rows.map((count) => ({ rows: count, micros: Math.max(...all.map((curve) => curve.micros(count))) })),
    );
  }

  /**
   * Learns from a step that ran: what was measured before serving may have been measured beside others. A step held up
   * by something else counts little.
   */
  observe(rows: number, micros: number): void {
    const point = this.#points.find((each) => each.rows === rows);
    if (point) point.micros += observedWeight * (Math.min(micros, 4 * point.micros) - point.micros);
  }

  /** Predicted time of a step in one stage. */
  micros(rows: number): number {
    const above = this.#points.find((point) => point.rows >= rows);
    return Math.min(stepMicros(rows, this.#points), above?.micros ?? Infinity);
  }

  /** The most rows, a multiple of `multiple`, whose step stays within the time; at least one multiple. */
  rowsWithin(micros: number, rowsMax: number, multiple: number): number {
    let rows = multiple;
    while (rows + multiple <= rowsMax && this.micros(rows + multiple) <= micros) rows += multiple;
    return Math.min(rows, rowsMax);
  }
}
