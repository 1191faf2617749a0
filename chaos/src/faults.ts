import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChaosCluster, ChaosWorker } from './cluster.js';
import type { Fault } from './schedule.js';

/** How long a worker may take to join that was started, to be told what to load, to serve, and to be emptied. */
const joinMs = 30_000;
const orderMs = 15_000;
const servingMs = 30_000;
const emptyMs = 60_000;
const lookMs = 100;
/** Loading a fifth of the model takes seconds, and steps are slow but in time. */
const loadingBytesPerSecond = 20_000;
/** Slower than one activation of the model needs, so that steps miss their deadlines. */
const crawlBytesPerSecond = 200;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Makes a fault happen, and mends it after its time. False when it did not come to what its name says, as where a worker
 * that was to be killed while it loads had nothing to load.
 */
export async function commit(fault: Fault, cluster: ChaosCluster): Promise<boolean> {
  const { kind, lastsMs } = fault;
  const [worker, other] = [cluster.workers[fault.worker], cluster.workers[fault.other]];
  if (!worker || !other) throw new Error(`There is no worker ${fault.worker} or ${fault.other}.`);
  switch (kind) {
    case 'killThrice':
      return killThrice(worker, cluster, lastsMs);
    case 'killWhileLoading':
      return killWhileLoading(worker, cluster, lastsMs);
    case 'drain':
      return drain(worker, cluster, lastsMs);
    case 'diskFull':
      return diskFull(worker, cluster.cacheDisk, lastsMs);
    case 'kill':
      await killed([worker], lastsMs);
      return true;
    case 'killTwo':
      await killed([worker, other], lastsMs);
      return true;
    case 'pause':
      worker.process?.signal('SIGSTOP');
      await sleep(lastsMs);
      worker.process?.signal('SIGCONT');
      return true;
    case 'cutControl':
      await cut(worker.control, lastsMs);
      return true;
    case 'cutData':
      await cut(worker.data, lastsMs);
      return true;
    case 'crawl':
      worker.data.bytesPerSecond = crawlBytesPerSecond;
      await sleep(2 * lastsMs);
      worker.data.bytesPerSecond = Infinity;
      return true;
    case 'flipBit':
      (lastsMs % 2 === 0 ? worker.data : worker.control).flipBit();
      return true;
    default:
      return kind satisfies never;
  }
}

async function killed(workers: readonly ChaosWorker[], lastsMs: number): Promise<void> {
  await Promise.all(workers.map(async (worker) => worker.process?.kill()));
  await sleep(lastsMs);
  for (const worker of workers) worker.start();
}

/** Each time it has joined again before. */
async function killThrice(worker: ChaosWorker, cluster: ChaosCluster, lastsMs: number): Promise<boolean> {
  let hasJoined = true;
  for (let time = 0; time < 3; time++) {
    await worker.process?.kill();
    await sleep(lastsMs / 3);
    hasJoined = (await started(worker, cluster)) && hasJoined;
  }
  return hasJoined;
}

/** Kills a worker, and once more while it fetches what it lost with its cache. */
async function killWhileLoading(
  worker: ChaosWorker,
  cluster: ChaosCluster,
  lastsMs: number,
): Promise<boolean> {
  await worker.process?.kill();
  await worker.emptyCache();
  await started(worker, cluster);
  // Weights come from the orchestrator, and from all who have them.
  const others = cluster.workers.filter((each) => each !== worker);
  const ways = [worker.control, ...others.map(({ data }) => data)];
  for (const way of ways) way.crawl(loadingBytesPerSecond);
  const order = await worker.process?.nextLine(/"shardId":"([^"]+)".*Loading the weights\./u, orderMs);
  await sleep(lastsMs / 10);
  await worker.process?.kill();
  for (const way of ways) way.bytesPerSecond = Infinity;
  const isLoaded = worker.process?.lines.some((line) => line.includes('The weights are loaded.'));
  await sleep(lastsMs);
  worker.start();
  return order !== null && isLoaded === false;
}

/** Whether a worker joined in time. */
async function started(worker: ChaosWorker, cluster: ChaosCluster): Promise<boolean> {
  const joined = cluster.joins(worker, joinMs);
  worker.start();
  return joined;
}

/** Has a worker emptied that serves, and starts it again after its time. */
async function drain(worker: ChaosWorker, cluster: ChaosCluster, lastsMs: number): Promise<boolean> {
  const endMs = performance.now() + servingMs;
  let isServing = false;
  while (!isServing && performance.now() < endMs) {
    isServing = (await cluster.stateOf(worker)) === 'serving';
    if (!isServing) await sleep(lookMs);
  }
  if (!isServing || !(await cluster.drain(worker))) return false;
  const isEmpty = (await worker.process?.endsWithin(emptyMs)) === true;
  if (!isEmpty) await worker.process?.kill();
  await sleep(lastsMs);
  worker.start();
  return isEmpty;
}

async function cut(proxy: ChaosWorker['control'], lastsMs: number): Promise<void> {
  proxy.cut();
  await sleep(lastsMs);
  proxy.heal();
}

/** Fills the disk that the weights are kept on, and has a worker without any load on it. */
async function diskFull(worker: ChaosWorker, disk: string | null, lastsMs: number): Promise<boolean> {
  await worker.process?.kill();
  if (disk === null) {
    worker.start();
    return false;
  }
  await worker.emptyCache();
  const filler = join(disk, 'filler');
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
  return true;
}
