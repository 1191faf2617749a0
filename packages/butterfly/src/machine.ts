import { statfs } from 'node:fs/promises';
import { availableParallelism, freemem } from 'node:os';
import { dirname, resolve } from 'node:path';
import { ButterflyError, type Logger } from '@butterfly/common';

const cacheBytesMax = 50 * 2 ** 30;

/** What a cache of weights may take of the disk that the directory is, or will be, on. */
export async function defaultCacheBytes(directory: string): Promise<number> {
  for (let path = resolve(directory); ; path = dirname(path)) {
    const disk = await statfs(path).catch(() => null);
    if (disk) return Math.min(cacheBytesMax, Math.floor((disk.blocks * disk.bsize) / 10));
    if (path === dirname(path)) return 0;
  }
}

/** Memory that may be taken without hurting the machine. */
export function availableMemoryBytes(): number {
  // Present from Node 20.13 on; it respects the limits of a container.
  const available = 'availableMemory' in process ? process.availableMemory() : freemem();
  return Math.floor(available * 0.9);
}

/** What a driver needs for itself, and its kernels for their intermediates. */
const deviceReserveBytes = 512 * 2 ** 20;

/** Memory of a GPU that may be taken: what its driver calls free is an upper bound, since other programs use it too. */
export function deviceMemoryBytes({ freeBytes }: { readonly freeBytes: number }): number {
  return Math.max(0, Math.floor(freeBytes * 0.95) - deviceReserveBytes);
}

/** Threads of each of `workers` on this machine: together never more than it has cores, if that can be. */
export function threadsPerWorker(workers: number): number {
  return Math.max(1, Math.floor(availableParallelism() / Math.max(1, workers)));
}

/** A limit of this process on the number of threads. */
export function checkThreads(threads: number): number {
  const cores = availableParallelism();
  if (threads > cores * 4)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--threads ${threads} is far above the ${cores} cores of this machine; use at most ${cores}.`,
    );
  return threads;
}

/** Threads wait for each other by polling, so more of them than cores are slower than few. */
export function warnOfCrowding(workers: number, threads: number, log: Logger): void {
  const cores = availableParallelism();
  if (workers * threads <= cores) return;
  log.warn(
    { workers, threads, cores },
    `${workers} x ${threads} threads compute on ${cores} cores and will wait for each other; lower --threads or --workers.`,
  );
}
