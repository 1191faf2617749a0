import type { ButterflyEvent } from '@butterfly/common';
import { median } from './load/statistics.js';
import { LocalCluster } from './local-cluster.js';
import { benchModel, promptOf } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

const promptTokens = 100;
const outputTokens = 120;
/** The fault comes in the middle of the stream. */
const piecesBefore = 40;
const pollMs = 5;
const deadlineMs = 120_000;

type Kind = ButterflyEvent['kind'];

interface Case {
  readonly name: string;
  readonly workers: number;
  readonly spares: number;
  readonly signal: 'SIGKILL' | 'SIGSTOP';
}

const cases: readonly Case[] = [
  { name: 'killed, nobody prepared', workers: 2, spares: 0, signal: 'SIGKILL' },
  { name: 'killed, a spare has its shard', workers: 3, spares: 1, signal: 'SIGKILL' },
  { name: 'silent, nobody prepared', workers: 2, spares: 0, signal: 'SIGSTOP' },
  { name: 'silent, a spare has its shard', workers: 3, spares: 1, signal: 'SIGSTOP' },
];

/** Milliseconds of one stall, by what they were spent on. */
interface Stall {
  /** From the fault to knowing of it. */
  readonly detectionMs: number;
  /** To having told the workers what to load or link. */
  readonly planningMs: number;
  /** To having all shards. */
  readonly loadingMs: number;
  /** Links and a first token through all stages. */
  readonly linkingMs: number;
  /** To the next token of the stream. */
  readonly recomputingMs: number;
  /** From the last token before the fault to the first after it. */
  readonly totalMs: number;
}

const parts = ['detectionMs', 'planningMs', 'loadingMs', 'linkingMs', 'recomputingMs', 'totalMs'] as const;

/** How long a stream stands still when a worker dies or falls silent, and how long until a new worker serves. */
export async function benchFailover(options: BenchOptions): Promise<void> {
  const { repeats } = options;
  const { name, path } = await benchModel(options.model);
  const stalls = [];
  for (const each of cases) {
    const measured: Stall[] = [];
    for (let round = 0; round < repeats; round++) measured.push(await measureStall(path, each));
    const medians = Object.fromEntries(
      parts.map((part) => [part, median(measured.map((stall) => stall[part]))]),
    ) as unknown as Stall;
    stalls.push({ ...each, ...medians });
  }
  const joins: number[] = [];
  for (let round = 0; round < repeats; round++) joins.push(await measureJoin(path));
  const joinMs = median(joins);
  printTable(
    `Stall of a stream, ${name}, workers of one thread, medians of ${repeats}: milliseconds`,
    ['fault of a stage', 'detection', 'planning', 'loading', 'linking', 'recomputing', 'all'],
    stalls.map((stall) => [stall.name, ...parts.map((part) => stall[part])]),
  );
  process.stdout.write(`A worker serves ${(joinMs / 1000).toFixed(1)} s after its process was started.\n`);
  writeResult('failover', { repeats, model: name, promptTokens, piecesBefore, stalls, joinMs });
}

/** What happened in the orchestrator, and when. */
class Journal {
  readonly entries: { readonly kind: Kind; readonly atMs: number }[] = [];

  readonly observe = ({ kind }: ButterflyEvent): void => {
    this.entries.push({ kind, atMs: performance.now() });
  };

  /** The first event of one of these kinds from then on; NaN without one. */
  first(kinds: readonly Kind[], sinceMs: number): number {
    return this.entries.find(({ kind, atMs }) => atMs >= sinceMs && kinds.includes(kind))?.atMs ?? NaN;
  }

  last(wanted: Kind, sinceMs: number, untilMs: number): number {
    const inside = this.entries.filter(
      ({ kind, atMs }) => atMs >= sinceMs && atMs <= untilMs && kind === wanted,
    );
    return inside.at(-1)?.atMs ?? NaN;
  }

  async until(kind: Kind, sinceMs: number): Promise<number> {
    for (const endMs = performance.now() + deadlineMs; performance.now() < endMs;) {
      const atMs = this.first([kind], sinceMs);
      if (!Number.isNaN(atMs)) return atMs;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    throw new Error(`The orchestrator told of no ${kind} within ${deadlineMs} ms.`);
  }
}

async function measureStall(path: string, { workers, spares, signal }: Case): Promise<Stall> {
  const journal = new Journal();
  await using cluster = await LocalCluster.start(path, {
    workers,
    threads: 1,
    contextTokens: 1024,
    parallel: 1,
    speculation: 'off',
    stagesMin: 2,
    spares,
    observe: journal.observe,
  });
  const startedMs = performance.now();
  await untilLoaded(cluster, workers);
  const victim = largestStage(cluster);
  let faultMs = Infinity;
  const text = await cluster.generate(promptOf(promptTokens), outputTokens, undefined, (pieces) => {
    if (pieces !== piecesBefore) return;
    faultMs = performance.now();
    cluster.signal(victim, signal);
  });
  const before = text.piecesMs.filter((atMs) => atMs <= faultMs).at(-1) ?? NaN;
  const liveMs = journal.first(['planLive'], faultMs);
  // What was under way when the worker died may still have come.
  const after = text.piecesMs.find((atMs) => atMs > liveMs) ?? NaN;
  const knownMs = journal.first(['workerLeft'], Math.max(faultMs, startedMs));
  const toldMs = journal.first(['shardOrdered', 'stagesLinking'], knownMs);
  const linkedMs = journal.last('stagesLinking', knownMs, liveMs);
  return {
    detectionMs: knownMs - faultMs,
    planningMs: toldMs - knownMs,
    loadingMs: linkedMs - toldMs,
    linkingMs: liveMs - linkedMs,
    recomputingMs: after - liveMs,
    totalMs: after - before,
  };
}

/** The worker of the stage that takes longest to load: the first to have a copy. */
function largestStage(cluster: LocalCluster): string {
  const { plan, workers } = cluster.describe();
  const [largest] = [...(plan?.stages ?? [])].sort((a, b) => b.bytes - a.bytes);
  const victim = workers.find(({ workerId }) => workerId === largest?.workerId);
  if (!victim) throw new Error('No worker serves.');
  return victim.name;
}

/** Until every worker serves or holds its copy. */
async function untilLoaded(cluster: LocalCluster, workers: number): Promise<void> {
  for (const endMs = performance.now() + deadlineMs; performance.now() < endMs;) {
    const described = cluster.describe().workers;
    if (described.length === workers && described.every(({ state, loaded }) => loaded && state !== 'loading'))
      return;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  throw new Error(`The workers did not load within ${deadlineMs} ms.`);
}

/** From the start of a worker's process to the plan that it is part of. */
async function measureJoin(path: string): Promise<number> {
  const journal = new Journal();
  await using cluster = await LocalCluster.start(path, {
    workers: 1,
    threads: 1,
    contextTokens: 1024,
    parallel: 4,
    speculation: 'off',
    stagesMin: 2,
    observe: journal.observe,
  });
  const startMs = performance.now();
  cluster.startWorker(2);
  return (await journal.until('planLive', startMs)) - startMs;
}
