import { LocalCluster } from './local-cluster.js';
import { median } from './load/statistics.js';
import { benchModel, promptOf } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

const decodeTokens = 128;
const batches = [1, 8, 16];

/** Medians over the decode steps, in milliseconds; the parts add up to the whole. */
interface StepParts {
  readonly batch: number;
  /** From the end of one step to the end of the next. */
  readonly period: number;
  readonly compute: number;
  /** Everything but native compute. */
  readonly outside: number;
  /** The stage's own code: inputs and sampling. */
  readonly stageHost: number;
  /** Forming and encoding the step, and turning its result into tokens. */
  readonly orchestrator: number;
  /** Sockets, codec of the stage and the waking of threads and processes. */
  readonly rest: number;
}

/** Where a decode step of one worker spends its time. */
export async function benchProfile(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const { name, path } = await benchModel(options.model);
  await using cluster = await LocalCluster.start(path, {
    workers: 1,
    threads,
    contextTokens: 256,
    parallel: Math.max(...batches),
    speculation: 'off',
  });
  const rounds = new Map<number, StepParts[]>(batches.map((batch) => [batch, []]));
  // The first round of each warms up and does not count.
  for (let round = 0; round <= repeats; round++)
    for (const [batch, parts] of rounds) {
      const measured = await profileBatch(cluster, batch);
      if (round > 0) parts.push(measured);
    }
  const results = [...rounds.values()].map(medianParts);
  printTable(
    `A decode step of one worker, ${name}, ${threads} threads, medians of ${repeats} in milliseconds`,
    ['batch', 'period', 'native compute', 'outside', 'stage', 'orchestrator', 'sockets and waking'],
    results.map((r) => [
      String(r.batch),
      r.period,
      r.compute,
      r.outside,
      r.stageHost,
      r.orchestrator,
      r.rest,
    ]),
  );
  writeResult('profile', {
    repeats,
    model: name,
    threads,
    results,
  });
}

async function profileBatch(cluster: LocalCluster, batch: number): Promise<StepParts> {
  const prompts = Array.from({ length: batch }, (_, index) => promptOf(8 + index).reverse());
  const all = await cluster.decodeAll(prompts, decodeTokens);
  const steps = all.flatMap((trace, index) => {
    const before = all[index - 1];
    // Two steps of the whole batch in a row: decoding, without a prompt or an end in between.
    if (before?.rows !== batch || trace.rows !== batch) return [];
    const sum = (times: readonly number[]): number => times.reduce((a, b) => a + b, 0) / 1000;
    const period = trace.endedMs - before.endedMs;
    const compute = sum(trace.stageTimes.map(({ computeMicros }) => computeMicros));
    const stageHost = sum(trace.stageTimes.map(({ hostMicros }) => hostMicros));
    const orchestrator = (trace.scheduleMicros + trace.completeMicros) / 1000;
    const outside = period - compute;
    return [
      { batch, period, compute, outside, stageHost, orchestrator, rest: outside - stageHost - orchestrator },
    ];
  });
  if (steps.length === 0)
    throw new Error(`No step had all ${batch} sequences; the scheduler splits them otherwise.`);
  return medianParts(steps);
}

function medianParts(steps: readonly StepParts[]): StepParts {
  const of = (key: keyof StepParts): number => median(steps.map((step) => step[key]));
  return {
    batch: of('batch'),
    period: of('period'),
    compute: of('compute'),
    outside: of('outside'),
    stageHost: of('stageHost'),
    orchestrator: of('orchestrator'),
    rest: of('rest'),
  };
}
