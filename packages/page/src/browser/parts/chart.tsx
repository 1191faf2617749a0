import { useState } from 'preact/hooks';
import { type Line, nearest, niceTop, pathOf, placesOf } from './chart-shape.js';
import { clockWords } from './format.js';

const [width, height] = [600, 140];

/** Lines over the last hour, with the values under the pointer, or the last ones. */
export function Chart(props: {
  readonly title: string;
  readonly atMs: readonly number[];
  readonly fromMs: number;
  readonly toMs: number;
  readonly lines: readonly Line[];
  readonly words: (value: number) => string;
  /** Of the upper edge; by default what the values need. */
  readonly top?: number;
}) {
  const { title, lines, words, atMs } = props;
  const [pointed, point] = useState<number | null>(null);
  const xs = placesOf(atMs, props.fromMs, props.toMs);
  const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const top = props.top ?? niceTop(values.reduce((most, value) => Math.max(most, value), 0));
  const at = pointed === null ? xs.length - 1 : nearest(xs, pointed);
  const move = (event: PointerEvent): void => {
    const { left, width: wide } = (event.currentTarget as Element).getBoundingClientRect();
    point((event.clientX - left) / Math.max(1, wide));
  };
  const told = lines.map(({ name, values: own }) => {
    const value = own[at] ?? null;
    return { name, words: value === null ? '–' : words(value) };
  });
  const moment = atMs[at];
  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong>
        <span class="quiet">{moment === undefined ? 'nothing yet' : clockWords(moment)}</span>
      </figcaption>
      <ul class="legend">
        {told.map((each, index) => (
          <li key={each.name} class={`line-${index}`}>
            {each.name} <b>{each.words}</b>
          </li>
        ))}
      </ul>
      <div class="plot" onPointerMove={move} onPointerLeave={() => point(null)}>
        <svg
          viewBox={`0 0 ${width} ${height}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${title}: ${told.map((each) => `${each.name} ${each.words}`).join(', ')}`}
        >
          {[0.25, 0.5, 0.75].map((share) => (
            <line key={share} class="grid" x1="0" x2={width} y1={height * share} y2={height * share} />
          ))}
          {lines.map((line, index) => (
            <path
              key={line.name}
              class={`line-${index}`}
              d={pathOf(line.values, xs, { width, height, top })}
            />
          ))}
          {pointed !== null && at >= 0 && (
            <line class="pointer" x1={(xs[at] ?? 0) * width} x2={(xs[at] ?? 0) * width} y1="0" y2={height} />
          )}
        </svg>
        <span class="top quiet">{words(top)}</span>
      </div>
    </figure>
  );
}
