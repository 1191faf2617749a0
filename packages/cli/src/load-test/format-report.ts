import { formatTable } from '../table.js';
import type { LoadPercentiles, LoadReport } from './tally.js';

/** A report for people. */
export function formatReport(report: LoadReport): string {
  const { requests, seconds, inputTokens, outputTokens, tokensCountedBy } = report;
  const rows: (readonly [string, LoadPercentiles | null])[] = [
    ['time to first token, ms', report.firstTokenMs],
    ['between tokens, ms', report.betweenTokensMs],
    ['end to end, ms', report.endToEndMs],
    ['tokens per second of a stream', report.streamTokensPerSecond],
  ];
  const table = formatTable([
    ['', 'p50', 'p90', 'p99'],
    ...rows.map(([name, values]) => [
      name,
      ...[values?.p50, values?.p90, values?.p99].map((value) => figure(value ?? null)),
    ]),
  ]);
  const errors = Object.entries(report.errors);
  const stopped = requests.stopped > 0 ? `, ${requests.stopped} stopped` : '';
  return [
    `${requests.answered} of ${requests.planned} requests answered in ${seconds.toFixed(1)} s, ${requests.failed} failed${stopped}.\n`,
    `${outputTokens} tokens of output${inputTokens === null ? '' : ` and ${inputTokens} of prompts`}`,
    tokensCountedBy === null ? '.\n' : `, counted by ${tokensCountedBy}.\n`,
    `${figure(report.tokensPerSecond)} tokens and ${figure(report.requestsPerSecond)} requests per second in all.\n\n`,
    table,
    errors.length === 0
      ? ''
      : `\n${formatTable([['error', 'requests'], ...errors.map(([code, count]) => [code, String(count)])])}`,
  ].join('');
}

function figure(value: number | null): string {
  return value === null ? '-' : value.toFixed(value < 10 ? 2 : 1);
}
