import { metrics, type Course, type Metric } from './flatness.js';
import type { SearchReport } from './search.js';

const bytes: ReadonlySet<Metric> = new Set(['rss', 'room', 'heap', 'external', 'allocated']);

/** The report for people: a row for each process and phase, a column for each thing that it holds. */
export function tableOf({ phases, wrong, failures, streams, realJoins }: SearchReport): string {
  const rows = phases.flatMap(({ phase, events, elapsedMs, processes }) => [
    `${phase}: ${events} in ${(elapsedMs / 1000).toFixed(0)} s; at the middle -> at the end (growth between, ! if too much)`,
    ['', ...metrics].map((name, i) => name.padEnd(i === 0 ? 14 : 20)).join(''),
    ...processes.map(({ name, courses }) =>
      [name.padEnd(14), ...courses.map((course) => cell(course).padEnd(20))].join('').trimEnd(),
    ),
  ]);
  const { controlCuts, dataCuts, kills, longestMs } = failures;
  const summary = [
    `${realJoins} of the joins by real workers; ${controlCuts} links to the orchestrator and ${dataCuts} between stages cut, ` +
      `${kills} processes killed, the longest recovery ${(longestMs / 1000).toFixed(1)} s; ${streams} streams whole; ` +
      `${wrong.length} requests or streams wrong`,
    ...wrong.slice(0, 10),
  ];
  return `${[...rows, ...summary].join('\n')}\n`;
}

function cell({ metric, middle, last, growth, isFlat }: Course): string {
  const shown = (value: number): string =>
    bytes.has(metric) ? (value / 2 ** 20).toFixed(1) : String(Math.round(value * 10) / 10);
  return `${shown(middle)}->${shown(last)} (${shown(growth)}${isFlat ? '' : '!'})`;
}
