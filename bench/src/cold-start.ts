import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@butterfly/common';
import { CpuBackend, loadGgml } from '@butterfly/ggml';
import { type ModelSpec, describeFamilyModel, openGguf } from '@butterfly/model';
import { StageRuntime } from '@butterfly/stage';
import { LocalSource, WeightCache } from '@butterfly/weights';
import { median } from './load/statistics.js';

const readBytes = 4 * 2 ** 20;
/** Loading takes the weights in memory and in the system's cache, and half of it for staging and the rest. */
const touchedFactor = 2.5;

/** Speeds in bytes per second with the system's disk cache dropped: of a shard with all layers, until it is in its place. */
export interface ColdStart {
  /** From the model's file, converted. */
  readonly converting: number;
  /** From the image that such a load left behind. */
  readonly image: number;
  /** The model's file read in order into the same few megabytes, two reads in flight. */
  readonly disk: number;
}

const ggml = loadGgml({ log: silentLogger });

/** Medians of rounds in which each is measured once. */
export async function measureColdStart(path: string, threads: number, repeats: number): Promise<ColdStart> {
  const spec = describeFamilyModel(await openGguf(path));
  const rounds: ColdStart[] = [];
  for (let round = 0; round < repeats; round++) {
    const directory = await mkdtemp(join(tmpdir(), 'butterfly-cold-'));
    try {
      const cache = await WeightCache.open({ directory, bytesMax: 1e12, observe: () => undefined });
      const converting = await load(spec, threads, cache);
      const image = await load(spec, threads, cache);
      rounds.push({ converting, image, disk: await readInOrder(path) });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  const of = (name: keyof ColdStart): number => median(rounds.map((round) => round[name]));
  return { converting: of('converting'), image: of('image'), disk: of('disk') };
}

/** As a worker loads: makes room, opens the file, fills the memory; and waits until what is to be kept is on the disk. */
async function load(spec: ModelSpec, threads: number, cache: WeightCache): Promise<number> {
  const bytes = spec.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  makeCold(bytes);
  const startedMs = performance.now();
  using stage = new StageRuntime({
    ggml,
    spec,
    range: { layerStart: 0, layerEnd: spec.layers },
    threads,
    arenaSlots: 256,
    cacheType: 'f16',
    rowsMax: 512,
  });
  await using files = await LocalSource.open(spec);
  if (!files) throw new Error('The model cannot be read.');
  await stage.load({
    read: (...range) => files.read(...range),
    images: cache.images,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
  const elapsedMs = performance.now() - startedMs;
  await cache.images.settled();
  return (bytes * 1000) / elapsedMs;
}

async function readInOrder(path: string): Promise<number> {
  const { size } = await stat(path);
  makeCold(size);
  await using handle = await open(path, 'r');
  const startedMs = performance.now();
  let nextAt = 0;
  const reader = async (): Promise<void> => {
    const window = Buffer.allocUnsafe(readBytes);
    for (let at = nextAt; at < size; at = nextAt) {
      nextAt = at + readBytes;
      await handle.read(window, 0, readBytes, at);
    }
  };
  await Promise.all([reader(), reader()]);
  return (size * 1000) / (performance.now() - startedMs);
}

/** Whether the system may be told to forget what it read, which only root may. */
export function isColdPossible(): boolean {
  try {
    dropCaches();
    return true;
  } catch {
    return false;
  }
}

/**
 * Has the system forget what it read. A virtual machine gives memory that nobody uses back to its host, and gets it again
 * at a tenth of the speed of a disk, which is not what is to be measured: so as much as is needed is used just before.
 */
function makeCold(bytes: number): void {
  if (isColdPossible()) dropCaches();
  using backend = new CpuBackend(ggml, 1);
  using memory = backend.allocate(touchedFactor * bytes);
  memory.clear();
}

function dropCaches(): void {
  execFileSync('sh', ['-c', 'sync && echo 3 > /proc/sys/vm/drop_caches'], { stdio: 'ignore' });
}
