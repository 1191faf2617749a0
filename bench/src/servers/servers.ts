import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { contextTokens, parallel } from '../load/sides.js';
import { benchModel, vocabularyOf, type BenchModel } from '../models.js';
import type { BenchOptions } from '../options.js';
import { ServeProcess } from '../processes/serve-process.js';
import { printTable, writeResult } from '../report.js';
import { type Beside, inTurn } from './beside.js';
import { type LlamaBinaries, openBinaries } from './binaries.js';
import { LlamaServer } from './llama-server.js';
import { atOnce, closedLoop, type Load, oneStream } from './loads.js';

const warmUpStreams = 4;

/** How both sides are run. */
interface Setting {
  readonly name: string;
  readonly workers: number;
  readonly threads: number;
  /** Whether something else wants a core all the time. */
  readonly isBusy: boolean;
  readonly loads: (vocabulary: number, least: number | null) => readonly Load[];
}

const settings: readonly Setting[] = [
  {
    name: '1 worker, 2 threads',
    ...{ workers: 1, threads: 2, isBusy: false },
    loads: (vocabulary, least) => [
      oneStream(vocabulary),
      atOnce(8, vocabulary),
      closedLoop(8, vocabulary, least),
      closedLoop(16, vocabulary, least),
    ],
  },
  {
    name: '1 worker, 1 thread',
    ...{ workers: 1, threads: 1, isBusy: false },
    loads: (vocabulary) => [oneStream(vocabulary)],
  },
  {
    name: '1 worker, 2 threads, beside a busy process',
    ...{ workers: 1, threads: 2, isBusy: true },
    loads: (vocabulary) => [oneStream(vocabulary)],
  },
  {
    name: '2 workers of 1 thread',
    ...{ workers: 2, threads: 1, isBusy: false },
    loads: (vocabulary, least) => [1, 8, 16].map((clients) => closedLoop(clients, vocabulary, least)),
  },
];

interface Row extends Beside {
  readonly setting: string;
  readonly load: string;
  readonly unit: string;
}

/**
 * As users run them, over HTTP: `butterfly serve` beside llama.cpp's own server, and its RPC mode.
 * @throws ButterflyError as `openBinaries`
 */
export async function benchServers(options: BenchOptions): Promise<void> {
  const { repeats, requests } = options;
  const binaries = await openBinaries(options.llamaBin);
  const model = await benchModel(options.model);
  const rows: Row[] = [];
  for (const setting of settings) {
    rows.push(...(await measure(setting, model, binaries, repeats, requests)));
    // After each: a run takes long, and what it has is kept when it is broken off.
    writeResult('servers', { model: model.name, repeats, rows });
  }
  printTable(
    `${model.name}, over HTTP, medians of ${repeats}`,
    ['setting', 'load', 'figure', 'llama-server', 'butterfly', 'ratio', 'first token ms', ''],
    rows.map((row) => [
      ...[row.setting, row.load, row.unit, row.llamaServer.figure, row.butterfly.figure, row.ratio],
      ...[row.llamaServer.firstTokenMs, row.butterfly.firstTokenMs],
    ]),
  );
}

async function measure(
  { name, workers, threads, isBusy, loads }: Setting,
  model: BenchModel,
  binaries: LlamaBinaries,
  repeats: number,
  least: number | null,
): Promise<Row[]> {
  const vocabulary = await vocabularyOf(model.path);
  const shape = { workers, threads, contextTokens, parallel };
  await using ours = await ServeProcess.start(model.path, shape);
  await using theirs = await LlamaServer.start(model.path, { ...shape, binaries });
  await using busy = isBusy ? busyThread() : null;
  await busy?.online;
  const rows: Row[] = [];
  // Memory is touched, and code compiled, before anything counts.
  for (const client of [theirs.client, ours.client]) await atOnce(warmUpStreams, vocabulary).run(client, 0);
  for (const load of loads(vocabulary, least)) {
    const beside = await inTurn(load, ours.client, theirs.client, repeats);
    const row = { setting: name, load: load.name, unit: load.unit, ...beside };
    process.stdout.write(`${name}, ${load.name}: ${row.ratio.toFixed(2)} of llama-server\n`);
    rows.push(row);
  }
  return rows;
}

/** Wants one core all the time, as another program of a user's does. */
function busyThread(): AsyncDisposable & { readonly online: Promise<unknown> } {
  const thread = new Worker('for (;;);', { eval: true });
  return {
    online: once(thread, 'online'),
    [Symbol.asyncDispose]: async () => {
      await thread.terminate();
    },
  };
}
