import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChaosCluster, ChaosWorker } from './cluster.js';
import type { Fault } from './schedule.js';

/** Slower than one activation of the model needs, so that steps miss their deadlines. */
const crawlBytesPerSecond = 200;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Makes a fault happen, and mends it after its time. */
export async function commit(
  fault: Fault,
  cluster: ChaosCluster,
  cacheDirectory: string | null,
): Promise<void> {
  const [worker, other] = [cluster.workers[fault.worker], cluster.workers[fault.other]];
  if (!worker || !other) throw new Error(`There is no worker ${fault.worker} or ${fault.other}.`);
  switch (fault.kind) {
    case 'kill':
      await killed([worker], fault.lastsMs);
      return;
    case 'killTwo':
      await killed([worker, other], fault.lastsMs);
      return;
    case 'killThrice':
      for (let time = 0; time < 3; time++) await killed([worker], fault.lastsMs / 3);
      return;
    case 'killWhileLoading':
      // The second one is loading what the first one had, or about to.
      await worker.process?.kill();
      await sleep(fault.lastsMs / 10);
      await other.process?.kill();
      await sleep(fault.lastsMs);
      worker.start();
      other.start();
      return;
    case 'pause':
      worker.process?.signal('SIGSTOP');
      await sleep(fault.lastsMs);
      worker.process?.signal('SIGCONT');
      return;
    case 'cutControl':
      await cut(worker.control, fault.lastsMs);
      return;
    case 'cutData':
      await cut(worker.data, fault.lastsMs);
      return;
    case 'crawl':
      worker.data.bytesPerSecond = crawlBytesPerSecond;
      await sleep(2 * fault.lastsMs);
      worker.data.bytesPerSecond = Infinity;
      return;
    case 'flipBit':
      (fault.lastsMs % 2 === 0 ? worker.data : worker.control).flipBit();
      return;
    case 'diskFull':
      await diskFull(worker, cacheDirectory, fault.lastsMs);
      return;
    default:
      fault.kind satisfies never;
  }
}

async function killed(workers: readonly ChaosWorker[], lastsMs: number): Promise<void> {
  await Promise.all(workers.map(async (worker) => worker.process?.kill()));
  await sleep(lastsMs);
  for (const worker of workers) worker.start();
}

async function cut(proxy: ChaosWorker['control'], lastsMs: number): Promise<void> {
  proxy.cut();
  await sleep(lastsMs);
  proxy.heal();
}

/** Fills the disk that the weights are kept on, and has a worker without any load on it. */
async function diskFull(worker: ChaosWorker, cacheDirectory: string | null, lastsMs: number): Promise<void> {
  await worker.process?.kill();
  if (cacheDirectory === null) {
    worker.start();
    return;
  }
  await rm(join(cacheDirectory, worker.name.replace('chaos', 'worker')), { recursive: true, force: true });
  const filler = join(cacheDirectory, 'filler');
  const file = await open(filler, 'w');
  const block = Buffer.alloc(64 * 1024);
  try {
    for (;;) await file.write(block);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  } finally {
    await file.close();
  }
  worker.start();
  await sleep(lastsMs);
  await rm(filler);
}
