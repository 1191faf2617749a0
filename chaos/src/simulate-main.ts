import { parseArgs } from 'node:util';
import { simulate } from './simulation/simulate.js';

const usage = `Usage: node chaos/dist/simulate-main.js [--seeds FROM..TO] [--log]

Runs simulated clusters under faults, one for each seed, and tells which seeds fail and why; ends with 1 when one does.
--log prints all that happened.
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1..1000' },
      log: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const [from = NaN, to = from] = values.seeds.split('..').map(Number);
  if (values.help || !Number.isSafeInteger(from) || !Number.isSafeInteger(to)) {
    process.stderr.write(usage);
    return values.help ? 0 : 2;
  }
  const startMs = performance.now();
  const outcomes = new Map<string, number>();
  let [failed, steps, plans, simulatedMs] = [0, 0, 0, 0];
  for (let seed = from; seed <= to; seed++) {
    const report = await simulate(seed);
    if (values.log) for (const line of report.lines) process.stdout.write(`${line}\n`);
    for (const violation of report.violations) process.stdout.write(`seed ${seed}: ${violation}\n`);
    if (report.violations.length > 0) failed += 1;
    for (const outcome of report.outcomes) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    steps += report.steps;
    plans += report.plans;
    simulatedMs += report.simulatedMs;
  }
  const minutes = (performance.now() - startMs) / 60_000;
  const count = to - from + 1;
  process.stdout.write(
    `${count} schedules, ${failed} failed; ${Math.round(count / minutes)} per minute; ` +
      `${steps} steps, ${plans} plans, ${(simulatedMs / 3_600_000).toFixed(1)} simulated hours; ` +
      `requests ${JSON.stringify(Object.fromEntries(outcomes))}\n`,
  );
  return failed === 0 ? 0 : 1;
}
