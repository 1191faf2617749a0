import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './load/statistics.js';
import { LocalCluster } from './local-cluster.js';
import { benchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

/** Where the bytes of a shard came from, and how long it took. */
interface Load {
  readonly name: string;
  readonly shardBytes: number;
  readonly movedBytes: number;
  readonly diskBytes: number;
  readonly elapsedMs: number;
}

const readBytes = 4 * 2 ** 20;

/** Bytes that move when workers load, and the speed at which they load from their disks. */
export async function benchWeights(options: BenchOptions): Promise<void> {
  const { repeats } = options;
  const { name, path } = await benchModel(options.model);
  const isCold = dropCaches();
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-weights-'));
  try {
    const fetched = await load('fetched', path, directory, ['--remote-only']);
    const again: Load[] = [];
    const file: Load[] = [];
    const disk: number[] = [];
    for (let round = 0; round < repeats; round++) {
      dropCaches();
      again.push(await load('again, from its cache', path, directory, ['--remote-only']));
      dropCaches();
      file.push(await load('from the file', path, directory, []));
      dropCaches();
      disk.push(await diskBytesPerSecond(path));
    }
    report({ name, repeats, isCold }, fetched, [again, file], median(disk));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function report(
  settings: { readonly name: string; readonly repeats: number; readonly isCold: boolean },
  fetched: Load,
  loads: readonly (readonly Load[])[],
  diskPerSecond: number,
): void {
  const rows = loads.map((rounds) => {
    const perSecond = median(rounds.map(({ diskBytes, elapsedMs }) => (diskBytes * 1000) / elapsedMs));
    const movedBytes = Math.max(...rounds.map((each) => each.movedBytes));
    return { name: rounds[0]?.name ?? '', movedBytes, perSecond, ratio: perSecond / diskPerSecond };
  });
  const movedShare = fetched.movedBytes / fetched.shardBytes;
  printTable(
    `Loading ${settings.name}, one worker, medians of ${settings.repeats}, disk ${settings.isCold ? 'cold' : 'NOT cold: only root may drop its cache'}`,
    ['load', 'moved MB', 'MB/s', 'of the disk alone'],
    [
      [fetched.name, fetched.movedBytes / 1e6, (fetched.movedBytes / fetched.elapsedMs) * 1e-3, ''],
      ...rows.map((row) => [row.name, row.movedBytes / 1e6, row.perSecond / 1e6, row.ratio]),
      ['the disk alone', '', diskPerSecond / 1e6, ''],
    ],
  );
  process.stdout.write(`Bytes moved over the network for each byte of the shard: ${movedShare.toFixed(4)}\n`);
  writeResult('weights', { ...settings, movedShare, fetched, loads: rows, diskPerSecond });
}

/** One worker that loads the whole model and leaves. */
async function load(name: string, path: string, directory: string, more: readonly string[]): Promise<Load> {
  await using cluster = await LocalCluster.start(path, {
    workers: 1,
    threads: 2,
    contextTokens: 256,
    parallel: 1,
    speculation: 'off',
    workerArguments: () => ['--cache-dir', directory, ...more],
  });
  const loaded = cluster.describe().workers[0]?.loaded;
  if (!loaded) throw new Error('The worker does not say what it loaded.');
  const { fileBytes, cacheBytes, peerBytes, orchestratorBytes, elapsedMs } = loaded;
  return {
    name,
    shardBytes: fileBytes + cacheBytes + peerBytes + orchestratorBytes,
    movedBytes: peerBytes + orchestratorBytes,
    diskBytes: fileBytes + cacheBytes,
    elapsedMs,
  };
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
