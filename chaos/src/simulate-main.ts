import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { simulate, type SimulationReport } from './simulation/simulate.js';

const usage = `Usage: node chaos/dist/simulate-main.js [--seeds FROM..TO] [--log]

Runs simulated clusters under faults, one for each seed, on all processors, and tells which seeds fail and why; ends with
1 when one does. --log prints all that happened.
`;

/** Most of what a simulation allocates is garbage at once, and is cheapest collected seldom. */
const maxYoungGenerationSizeMb = 128;

/** Seeds of one thread. */
interface Share {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  /** Whether all that happened is to be told. */
  readonly isLogged: boolean;
}

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
  const summary = new Summary();
  const threads = Math.max(1, Math.min(availableParallelism(), to - from + 1));
  await Promise.all(
    Array.from({ length: threads }, (_, index) =>
      runThread({ from: from + index, to, step: threads, isLogged: values.log }, (report) => {
        for (const line of report.lines) process.stdout.write(`${line}\n`);
        summary.add(report);
      }),
    ),
  );
  summary.tell((performance.now() - startMs) / 60_000);
  return summary.failed === 0 ? 0 : 1;
}

/** A simulation needs a process of its own as for promises that nobody handles; a thread will do. */
function runThread(share: Share, onReport: (report: SimulationReport) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL(import.meta.url), {
      workerData: share,
      resourceLimits: { maxYoungGenerationSizeMb },
    });
    thread.on('message', onReport);
    thread.on('error', reject);
    thread.on('exit', () => resolve());
  });
}

async function runShare({ from, to, step, isLogged }: Share): Promise<void> {
  for (let seed = from; seed <= to; seed += step) {
    const report = await simulate(seed);
    parentPort?.postMessage(isLogged ? report : { ...report, lines: [] });
  }
}

class Summary {
  failed = 0;
  #schedules = 0;
  #steps = 0;
  #plans = 0;
  #replicated = 0;
  #simulatedMs = 0;
  readonly #outcomes = new Map<string, number>();

  add({ seed, violations, outcomes, steps, plans, replicas, simulatedMs }: SimulationReport): void {
    for (const violation of violations) process.stdout.write(`seed ${seed}: ${violation}\n`);
    for (const outcome of outcomes) this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1);
    if (violations.length > 0) this.failed += 1;
    this.#schedules += 1;
    this.#steps += steps;
    this.#plans += plans;
    if (replicas > 1) this.#replicated += 1;
    this.#simulatedMs += simulatedMs;
  }

  tell(minutes: number): void {
    process.stdout.write(
      `${this.#schedules} schedules, ${this.failed} failed; ${Math.round(this.#schedules / minutes)} per minute; ` +
        `${this.#steps} steps, ${this.#plans} plans, ${this.#replicated} times two pipelines, ${(this.#simulatedMs / 3_600_000).toFixed(1)} simulated hours; ` +
        `requests ${JSON.stringify(Object.fromEntries(this.#outcomes))}\n`,
    );
  }
}

if (isMainThread) process.exitCode = await main();
else await runShare(workerData as Share);
