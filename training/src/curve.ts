/** A line of the training log. */
export interface LogLine {
  readonly step: number;
  /** Nats per token, mean since the line before. */
  readonly loss: number;
  readonly heldOutLoss?: number;
}

const size = { width: 720, height: 360, left: 56, right: 16, top: 36, bottom: 44 } as const;
const lossTicks = [0.2, 0.3, 0.5, 1, 2, 4, 7];
const lossRange = { min: 0.17, max: 8 } as const;

/** The loss over the steps as a picture, the loss on a logarithmic axis. */
export function lossCurve(lines: readonly LogLine[]): string {
  const steps = Math.max(...lines.map(({ step }) => step));
  const x = (step: number): number => size.left + (step / steps) * (size.width - size.left - size.right);
  const share = (loss: number): number =>
    Math.log(loss / lossRange.min) / Math.log(lossRange.max / lossRange.min);
  const y = (loss: number): number =>
    size.height - size.bottom - share(loss) * (size.height - size.top - size.bottom);
  const points = (values: readonly (readonly [number, number])[]): string =>
    values.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(' ');
  const heldOut = lines.flatMap(({ step, heldOutLoss }) =>
    heldOutLoss === undefined ? [] : [[step, heldOutLoss] as const],
  );
  const text = (at: readonly [number, number], anchor: string, words: string): string =>
    `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" text-anchor="${anchor}">${words}</text>`;
  const stepTicks = Array.from({ length: 5 }, (_, index) => Math.round((steps * index) / 4));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="12" fill="#444">`,
    `<rect width="${size.width}" height="${size.height}" fill="#fff"/>`,
    ...lossTicks.flatMap((loss) => [
      `<line x1="${size.left}" x2="${size.width - size.right}" y1="${y(loss).toFixed(1)}" y2="${y(loss).toFixed(1)}" stroke="#ddd"/>`,
      text([size.left - 8, y(loss) + 4], 'end', String(loss)),
    ]),
    ...stepTicks.map((step) => text([x(step), size.height - size.bottom + 20], 'middle', String(step))),
    text([size.width / 2, size.height - 8], 'middle', 'steps'),
    text(
      [size.left, 20],
      'start',
      'Loss in nats per token: training (blue, mean of ten steps) and held-out stories and chats (orange)',
    ),
    `<polyline fill="none" stroke="#2b6cb0" stroke-width="1.5" points="${points(lines.map(({ step, loss }) => [step, loss]))}"/>`,
    `<polyline fill="none" stroke="#dd6b20" stroke-width="2" points="${points(heldOut)}"/>`,
    '</svg>',
    '',
  ].join('\n');
}
