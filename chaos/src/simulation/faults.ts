import { ButterflyError } from '@butterfly/common';
import type { Orchestrator } from '@butterfly/orchestrator';
import type { SimulatedClock, SimulatedLink, SimulatedNetwork } from '@butterfly/testkit';
import type { DiskTrouble } from './fake-machine.js';
import type { Journal } from './journal.js';
import type { Fault, Schedule } from './schedule.js';
import { orchestratorHost, type SimulatedWorker } from './simulated-worker.js';

/** Slower than heartbeats and steps need. */
const crawlBytesPerSecond = 300;
const jitterMs = 400;
/** How long and how often is waited for a worker to load. */
const loadingMs = 10_000;
const lookMs = 50;

export interface FaultSurroundings {
  readonly schedule: Schedule;
  readonly workers: readonly SimulatedWorker[];
  readonly network: SimulatedNetwork;
  readonly clock: SimulatedClock;
  readonly journal: Journal;
  readonly orchestrator: Orchestrator;
}

/** Makes a fault happen; resolves when it is mended. */
export async function commit(fault: Fault, around: FaultSurroundings): Promise<void> {
  const { clock, journal, network, workers } = around;
  const { kind, lastsMs } = fault;
  const [worker, other] = [workers[fault.worker], workers[fault.other]];
  if (!worker || !other) throw new Error(`There is no worker ${fault.worker} or ${fault.other}.`);
  journal.note('fault', `${kind} ${worker.name} ${other.name} for ${lastsMs} ms`);
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => clock.after(ms, resolve));
  const data = network.link(worker.name, other.name);
  const control = network.link(worker.name, orchestratorHost);
  switch (kind) {
    case 'kill':
      return killed([worker], lastsMs, sleep);
    case 'killForGood':
      worker.kill();
      return;
    case 'killTwo':
      return killed([worker, other], lastsMs, sleep);
    case 'killThrice':
      for (let time = 0; time < 3; time++) {
        await killed([worker], lastsMs / 3, sleep);
        await sleep(lastsMs / 3);
      }
      return;
    case 'killWhileLoading':
      for (let ms = 0; ms < loadingMs && worker.machine?.isLoading !== true; ms += lookMs)
        await sleep(lookMs);
      return killed([worker], lastsMs, sleep);
    case 'pause': {
      const resume = worker.pause();
      await sleep(lastsMs);
      resume();
      return;
    }
    case 'cutData':
      return cut([data], sleep(lastsMs));
    case 'cutAllData':
      return cut(
        workers.filter(({ name }) => name !== worker.name).map(({ name }) => network.link(worker.name, name)),
        sleep(lastsMs),
      );
    case 'cutControl':
      return cut([control], sleep(lastsMs));
    case 'crawlData':
    case 'crawlControl': {
      const link = kind === 'crawlData' ? data : control;
      link.crawl(crawlBytesPerSecond);
      await sleep(lastsMs);
      link.set(around.schedule.link);
      return;
    }
    case 'jitter':
      return jittered([data, control], around, sleep(lastsMs));
    case 'flipBit':
      (lastsMs % 2 === 0 ? data : control).flipBit();
      return;
    case 'failLoad':
      return disk(worker, 'fails', sleep(lastsMs));
    case 'slowLoad':
      return disk(worker, 'slow', sleep(lastsMs));
    case 'hangLoad':
      return disk(worker, 'hangs', sleep(lastsMs));
    case 'drain':
      drain(worker, around);
      return;
    default:
      kind satisfies never;
  }
}

async function killed(
  workers: readonly SimulatedWorker[],
  lastsMs: number,
  sleep: (ms: number) => Promise<void>,
): Promise<void> {
  for (const worker of workers) worker.kill();
  await sleep(lastsMs);
  for (const worker of workers) worker.start();
}

async function cut(links: readonly SimulatedLink[], end: Promise<void>): Promise<void> {
  for (const link of links) link.cut();
  await end;
  for (const link of links) link.heal();
}

async function jittered(
  links: readonly SimulatedLink[],
  { schedule }: FaultSurroundings,
  end: Promise<void>,
): Promise<void> {
  for (const link of links) link.set({ jitterMs });
  await end;
  for (const link of links) link.set(schedule.link);
}

async function disk(worker: SimulatedWorker, trouble: DiskTrouble, end: Promise<void>): Promise<void> {
  const { machine } = worker;
  if (!machine) return;
  machine.disk = trouble;
  await end;
  machine.disk = 'none';
}

function drain({ name }: SimulatedWorker, { orchestrator, journal }: FaultSurroundings): void {
  const known = orchestrator.describe().workers.find((each) => each.name === name);
  if (!known) return;
  try {
    orchestrator.drain(known.workerId);
  } catch (error) {
    if (!(error instanceof ButterflyError)) throw error;
    journal.note('fault', `drain refused: ${error.code} ${error.message}`);
  }
}
