import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

/** How much of it to try. */
export interface FuzzOptions {
  readonly cases: number;
  readonly seed: string;
  readonly processes: number;
  /** Is told how many cases were tried. */
  readonly onProgress: (tried: number) => void;
}

/**
 * Runs a fuzzer as a command that takes `--cases`, `--seed` and `--processes`: writes its report as JSON, and ends with 1
 * when it found a fault, with 2 on other options.
 */
export async function fuzzCommand<R extends object>(
  { usage, cases: usualCases }: { readonly usage: string; readonly cases: number },
  fuzz: (options: FuzzOptions) => Promise<R>,
  faultsOf: (report: R) => readonly unknown[],
): Promise<void> {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: String(usualCases) },
      seed: { type: 'string', default: '1' },
      processes: { type: 'string', default: String(availableParallelism()) },
      help: { type: 'boolean', default: false },
    },
  });
  const [cases, processes] = [Number(values.cases), Number(values.processes)];
  const isCount = (value: number): boolean => Number.isInteger(value) && value >= 1;
  if (values.help || !isCount(cases) || !isCount(processes)) {
    process.stderr.write(usage);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const { seed } = values;
  const startMs = performance.now();
  const report = await fuzz({
    cases,
    seed,
    processes,
    onProgress: (tried) => process.stderr.write(`\r${tried} of ${cases} `),
  });
  const seconds = Math.round((performance.now() - startMs) / 1000);
  process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ cases, seed, seconds, ...report }, null, 2)}\n`);
  process.exitCode = faultsOf(report).length === 0 ? 0 : 1;
}
