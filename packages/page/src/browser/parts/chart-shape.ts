/** One line of a chart; null where nothing was measured. */
export interface Line {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

/** The next number that people like to read on an axis, at or above this one. */
export function niceTop(value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const lead = [1, 2, 2.5, 5, 10].find((each) => each * power >= value * (1 - 1e-9)) ?? 10;
  return lead * power;
}

/**
 * A path through the values, broken where there are none.
 * @param xs from 0 to 1, as many as values
 * @param top value at the upper edge
 */
export function pathOf(
  values: readonly (number | null)[],
  xs: readonly number[],
  { width, height, top }: { readonly width: number; readonly height: number; readonly top: number },
): string {
  let path = '';
  let isDown = false;
  values.forEach((value, index) => {
    if (value === null) {
      isDown = false;
      return;
    }
    const x = (xs[index] ?? 0) * width;
    const y = height - (Math.min(value, top) / top) * height;
    path += `${isDown ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    // A value with nothing on either side would else not be seen.
    if (!isDown && (values[index + 1] ?? null) === null) path += 'h1';
    isDown = true;
  });
  return path;
}

/** Where moments lie between two others, from 0 to 1. */
export function placesOf(atMs: readonly number[], fromMs: number, toMs: number): number[] {
  const span = Math.max(1, toMs - fromMs);
  return atMs.map((at) => Math.min(1, Math.max(0, (at - fromMs) / span)));
}

/** The index of what lies nearest; -1 where there is nothing. */
export function nearest(xs: readonly number[], x: number): number {
  let best = -1;
  xs.forEach((each, index) => {
    if (best < 0 || Math.abs(each - x) < Math.abs((xs[best] ?? 0) - x)) best = index;
  });
  return best;
}
