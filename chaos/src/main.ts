import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runCommand } from './command.js';
import { chaosRound, type RoundReport } from './round.js';
import { faultKinds, faultsOf } from './schedule.js';
import { SmallDisk } from './small-disk.js';

const usage = `Usage: npm run chaos -- [--minutes N] [--seed N] [--workers N] [--replicas N]
                        [--streams N] [--model PATH]

Runs a cluster of real processes under faults: kills, pauses, cut and crawling links, flipped bits, a full disk, drains. Every
stream is compared with that of an undisturbed run. Writes chaos/results/chaos.json; ends with 1 when a stream broke.
`;

const ownModel = fileURLToPath(
  new URL('../../packages/butterfly/models/butterfly-stories.gguf', import.meta.url),
);

await runCommand(main);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '5' },
      streams: { type: 'string', default: '16' },
      replicas: { type: 'string', default: '1' },
      model: { type: 'string', default: ownModel },
      help: { type: 'boolean', default: false },
    },
  });
  const { help, model, ...numbers } = values;
  const [minutes, seed] = [Number(numbers.minutes), Number(numbers.seed)];
  const [workers, streams, replicas] = [numbers.workers, numbers.streams, numbers.replicas].map(Number);
  if (help || !minutes || !workers || workers < 2 || !streams || !replicas || Number.isNaN(seed)) {
    process.stderr.write(usage);
    return help ? 0 : 2;
  }
  await using disk = await SmallDisk.mount(64);
  if (!disk) process.stdout.write('No disk can be mounted here, so none is filled.\n');
  const kinds = faultKinds.filter((kind) => disk !== null || kind !== 'diskFull');
  const report = await chaosRound({
    model,
    workers,
    streams,
    tokens: 200,
    faults: faultsOf(seed, workers, kinds),
    endMs: performance.now() + minutes * 60_000,
    cacheDisk: disk?.path ?? null,
    replicas,
    onFault: ({ kind, worker, lastsMs }, elapsedMs) =>
      process.stdout.write(
        `${(elapsedMs / 1000).toFixed(1)} s: ${kind} worker ${worker + 1}, ${lastsMs} ms\n`,
      ),
  });
  write({ seed, minutes, workers, replicas }, report);
  return report.broken.length === 0 ? 0 : 1;
}

function write(settings: Readonly<Record<string, number>>, report: RoundReport): void {
  const folder = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const counts = Object.fromEntries(
    faultKinds.map((kind) => {
      const faults = report.faults.filter((fault) => fault.kind === kind);
      return [
        kind,
        { committed: faults.length, asNamed: faults.filter(({ isAsNamed }) => isAsNamed).length },
      ];
    }),
  );
  const result = { date: new Date().toISOString(), ...settings, ...report, faults: counts };
  writeFileSync(`${folder}chaos.json`, `${JSON.stringify(result, null, 2)}\n`);
  const { streams, tokens, plans, longestStallMs, broken, log } = report;
  process.stdout.write(
    `${streams} streams, ${tokens} pieces, ${report.faults.length} faults, ${plans} plans; ` +
      `longest wait ${(longestStallMs / 1000).toFixed(1)} s; ${broken.length} streams broken\n`,
  );
  for (const { prompt, text, reason, error } of broken.slice(0, 5))
    process.stdout.write(`${JSON.stringify({ prompt, text, reason, error })}\n`);
  for (const line of log) process.stdout.write(`${line}\n`);
}
