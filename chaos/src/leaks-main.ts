import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runCommand } from './command.js';
import { searchLeaks, type SearchReport } from './leaks/search.js';
import { tableOf } from './leaks/table.js';

const usage = `Usage: node chaos/dist/leaks-main.js [--requests N] [--loads N] [--joins N] [--failures N] [--samples N] [--workers N]

Puts a cluster of real processes over TLS through requests, loads of its model, joins and failures, and looks whether what each process holds
grows: memory, files, sockets, threads, timers and native objects. Writes chaos/results/leaks.json; ends with 1 when
something grew, or a request or stream came to something else than it should have.
`;

await runCommand(main);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '10000' },
      loads: { type: 'string', default: '100' },
      joins: { type: 'string', default: '1000' },
      failures: { type: 'string', default: '1000' },
      samples: { type: 'string', default: '24' },
      workers: { type: 'string', default: '5' },
      help: { type: 'boolean', default: false },
    },
  });
  const { help, ...texts } = values;
  const numbers = Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [name, Number(text)]),
  ) as Record<keyof typeof texts, number>;
  const isUsable = Object.values(numbers).every((number) => Number.isSafeInteger(number) && number >= 0);
  if (help || !isUsable || numbers.workers < 4 || numbers.samples < 4) {
    process.stderr.write(usage);
    return help ? 0 : 2;
  }
  const report = await searchLeaks({
    ...numbers,
    onSample: (phase, sample) => process.stderr.write(`${phase}: sample ${sample} of ${numbers.samples}\n`),
  });
  const folder = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const phases = report.phases.map(({ processes, ...phase }) => ({
    ...phase,
    processes: processes.map(({ name, courses }) => ({ name, courses })),
  }));
  const result = { date: new Date().toISOString(), ...numbers, ...report, phases };
  writeFileSync(`${folder}leaks.json`, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(tableOf(report));
  return isClean(report) ? 0 : 1;
}

function isClean({ phases, wrong }: SearchReport): boolean {
  const courses = phases.flatMap(({ processes }) => processes.flatMap((each) => each.courses));
  return wrong.length === 0 && courses.every(({ isFlat }) => isFlat);
}
