/** One step in one stage. */
export interface StageWork {
  readonly startMicros: number;
  readonly endMicros: number;
  /** It holds a part of a prompt. */
  readonly isPrompt: boolean;
}

/** What one pipeline did in the window of the picture. */
export interface OccupancyPanel {
  readonly title: string;
  /** Share of the time that its stages computed, over the whole run. */
  readonly occupancy: number;
  readonly stages: readonly (readonly StageWork[])[];
}

const width = 900;
const chart = { left: 186, right: 24, top: 78, bottom: 44 } as const;
const bar = { height: 8, pitch: 11 } as const;
const panelGap = 18;
/** Two lines of words stand beside each panel. */
const panelHeightMin = 22;
/** A gap between two steps in a row that meet, so that both can be seen. */
const seam = 0.6;

/** Its own background in either scheme, so that it can be read wherever it is shown. */
const style = `
  .paper{fill:#ffffff} text{fill:#1f2328} .faint{fill:#59636e} .idle{fill:#e4e8ec} .tick{stroke:#d1d9e0}
  .decode{fill:#2a78c6} .prompt{fill:#d9822b}
  @media (prefers-color-scheme: dark){
    .paper{fill:#0d1117} text{fill:#e6edf3} .faint{fill:#9198a1} .idle{fill:#252b33} .tick{stroke:#3d444d}
    .decode{fill:#58a6ff} .prompt{fill:#f0a050}
  }`;

/** Bars of what each stage does over time, one panel for each pipeline. */
export function drawOccupancy(panels: readonly OccupancyPanel[], windowMicros: number): string {
  const x = (micros: number): number =>
    chart.left + (micros / windowMicros) * (width - chart.left - chart.right);
  const body: string[] = [];
  let y = chart.top;
  for (const panel of panels) {
    body.push(...drawPanel(panel, y, x, windowMicros));
    y += Math.max(panelHeightMin, panel.stages.length * bar.pitch) + panelGap;
  }
  const height = y - panelGap + chart.bottom;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" role="img">`,
    '<title>What each stage of a pipeline does over time</title>',
    `<style>${style}\n</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    text(
      20,
      26,
      `What each stage does in ${windowMicros / 1e6} seconds`,
      'font-size="15" font-weight="bold"',
    ),
    ...drawLegend(),
    ...body,
    ...drawAxis(y - panelGap + 4, x, windowMicros),
    '</svg>',
    '',
  ].join('\n');
}

function drawPanel(
  { title, occupancy, stages }: OccupancyPanel,
  top: number,
  x: (micros: number) => number,
  windowMicros: number,
): string[] {
  const middle = top + ((stages.length - 1) * bar.pitch + bar.height) / 2;
  return [
    text(20, middle - 2, title, 'font-weight="bold"'),
    text(20, middle + 13, `${(100 * occupancy).toFixed(1)}% busy`, 'class="faint"'),
    ...stages.flatMap((work, stage) => {
      const y = top + stage * bar.pitch;
      return [
        path('idle', [{ startMicros: 0, endMicros: windowMicros }], y, x),
        path(
          'decode',
          work.filter(({ isPrompt }) => !isPrompt),
          y,
          x,
        ),
        path(
          'prompt',
          work.filter(({ isPrompt }) => isPrompt),
          y,
          x,
        ),
      ];
    }),
  ].filter((line) => line !== '');
}

/** All bars of one kind in one stage, as one shape: thousands of elements would make the picture slow. */
function path(
  kind: string,
  work: readonly Pick<StageWork, 'startMicros' | 'endMicros'>[],
  y: number,
  x: (micros: number) => number,
): string {
  if (work.length === 0) return '';
  const bars = work.map(({ startMicros, endMicros }) => {
    const length = Math.max(0.4, x(endMicros) - x(startMicros) - (kind === 'idle' ? 0 : seam));
    return `M${x(startMicros).toFixed(1)} ${y}h${length.toFixed(1)}v${bar.height}h-${length.toFixed(1)}z`;
  });
  return `<path class="${kind}" d="${bars.join('')}"/>`;
}

function drawLegend(): string[] {
  const entries = [
    ['decode', 'a step that decodes', 0],
    ['prompt', 'a step with a part of a prompt', 150],
    ['idle', 'idle', 360],
  ] as const;
  return entries.flatMap(([kind, words, offset]) => [
    `<rect class="${kind}" x="${chart.left + offset}" y="${chart.top - 23}" width="18" height="${bar.height}"/>`,
    text(chart.left + offset + 24, chart.top - 15, words, ''),
  ]);
}

function drawAxis(top: number, x: (micros: number) => number, windowMicros: number): string[] {
  const ticks = Array.from({ length: 5 }, (_, index) => (windowMicros * index) / 4);
  return ticks.flatMap((micros) => [
    `<line class="tick" x1="${x(micros).toFixed(1)}" x2="${x(micros).toFixed(1)}" y1="${top}" y2="${top + 6}"/>`,
    text(x(micros), top + 20, `${micros / 1e6} s`, 'class="faint" text-anchor="middle"'),
  ]);
}

function text(x: number, y: number, words: string, attributes: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${words}</text>`;
}
