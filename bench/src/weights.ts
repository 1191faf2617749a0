import { execFileSync } from 'node:child_process';
import { mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './load/statistics.js';
import { LocalCluster } from './local-cluster.js';
import { benchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { HeldMemory } from './processes/held-memory.js';
import { printTable, writeResult } from './report.js';
import { measureMoved, type Moved } from './weights-moved.js';

/** One load of the whole model by one worker. */
interface Load {
  readonly name: string;
  /** That came from a file or the cache, or over the network. */
  readonly bytes: number;
  readonly elapsedMs: number;
}

const readBytes = 4 * 2 ** 20;
/** What loading takes: the weights in memory and in the system's cache, and as much again for the worker. */
const heldFactor = 4;
/** A cache that has not grown for so long has all that will be kept. */
const quietMs = 3_000;

/** Bytes that move when workers load, and the speed at which they load from their disks. */
export async function benchWeights(options: BenchOptions): Promise<void> {
  const { repeats } = options;
  const { name, path } = await benchModel(options.model);
  const isCold = dropCaches();
  const moved = await measureMoved(path);
  const loads = new Map<string, Load[]>();
  const disk: number[] = [];
  for (let round = 0; round < repeats; round++) {
    for (const each of [
      ...(await loadTwice(path, 'file', [])),
      ...(await loadTwice(path, 'network', ['--remote-only'])),
    ])
      loads.set(each.name, [...(loads.get(each.name) ?? []), each]);
    disk.push(await diskBytesPerSecond(path));
  }
  report({ name, repeats, isCold }, moved, [...loads.values()], median(disk));
}

function report(
  settings: { readonly name: string; readonly repeats: number; readonly isCold: boolean },
  moved: readonly Moved[],
  loads: readonly (readonly Load[])[],
  diskPerSecond: number,
): void {
  const rows = loads.map((rounds) => {
    const perSecond = median(rounds.map(({ bytes, elapsedMs }) => (bytes * 1000) / elapsedMs));
    return { name: rounds[0]?.name ?? '', perSecond, ratio: perSecond / diskPerSecond };
  });
  printTable(
    `Loading ${settings.name}, one worker, medians of ${settings.repeats}, disk ${settings.isCold ? 'cold' : 'NOT cold: only root may drop its cache'}`,
    ['load', 'MB/s', 'of the disk alone'],
    [
      ...rows.map((row) => [row.name, row.perSecond / 1e6, row.ratio]),
      ['the disk alone', diskPerSecond / 1e6, ''],
    ],
  );
  printTable(
    'Bytes over the network to workers that have nothing',
    ['cluster', 'worker', 'shard MB', 'moved MB', 'of them from a peer', 'moved / shard'],
    moved.map((each) => [
      each.name,
      each.worker,
      each.shardBytes / 1e6,
      each.wireBytes / 1e6,
      each.peerBytes / 1e6,
      (each.wireBytes / each.shardBytes).toFixed(4),
    ]),
  );
  writeResult('weights', { ...settings, moved, loads: rows, diskPerSecond });
}

/** A worker that has nothing in its cache loads the whole model, and then another one with what was kept. */
async function loadTwice(path: string, from: string, more: readonly string[]): Promise<Load[]> {
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-weights-'));
  try {
    const first = await load(`for the first time, from the ${from}`, path, [
      '--cache-dir',
      directory,
      ...more,
    ]);
    const again = await load(`again, after one from the ${from}`, path, ['--cache-dir', directory, ...more]);
    return [first, again];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }

  async function load(name: string, model: string, workerArguments: readonly string[]): Promise<Load> {
    const { size } = await stat(model);
    dropCaches();
    const held = await HeldMemory.take(heldFactor * size);
    await using cluster = await LocalCluster.start(model, {
      workers: 1,
      threads: 2,
      contextTokens: 256,
      parallel: 1,
      speculation: 'off',
      workerArguments: () => workerArguments,
      onLog: (message) => {
        if (message === 'A worker joined.') void held[Symbol.asyncDispose]();
      },
    });
    const loaded = cluster.describe().workers[0]?.loaded;
    if (!loaded) throw new Error('The worker does not say what it loaded.');
    await cacheIsQuiet(directory);
    const { fileBytes, cacheBytes, peerBytes, orchestratorBytes, elapsedMs } = loaded;
    return { name, bytes: fileBytes + cacheBytes + peerBytes + orchestratorBytes, elapsedMs };
  }
}

/** Waits until what a load left to be kept is on the disk. */
async function cacheIsQuiet(directory: string): Promise<void> {
  for (
    let [before, now] = ['', await contentsOf(directory)];
    before !== now;
    [before, now] = [now, await contentsOf(directory)]
  )
    await new Promise((resolve) => setTimeout(resolve, quietMs));
}

/** Names and sizes of all files, also of those that are not finished. */
async function contentsOf(directory: string): Promise<string> {
  const files = await readdir(directory, { recursive: true });
  const sizes = files.map(async (name) => {
    const found = await stat(join(directory, name)).catch(() => null);
    return found?.isFile() ? `${name} ${found.size}` : '';
  });
  return (await Promise.all(sizes)).join();
}

/** Has the system forget what it read; false where that is not allowed. */
function dropCaches(): boolean {
  try {
    execFileSync('sh', ['-c', 'sync && echo 3 > /proc/sys/vm/drop_caches'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Reads the whole file in order, two reads in flight, as loading does. */
async function diskBytesPerSecond(path: string): Promise<number> {
  const { size } = await stat(path);
  dropCaches();
  await using held = await HeldMemory.take(heldFactor * size);
  await held[Symbol.asyncDispose]();
  const handle = await open(path, 'r');
  const startMs = performance.now();
  let nextAt = 0;
  const reader = async (): Promise<void> => {
    const window = Buffer.allocUnsafe(readBytes);
    for (let at = nextAt; at < size; at = nextAt) {
      nextAt = at + readBytes;
      await handle.read(window, 0, readBytes, at);
    }
  };
  await Promise.all([reader(), reader()]);
  await handle.close();
  return (size * 1000) / (performance.now() - startMs);
}
