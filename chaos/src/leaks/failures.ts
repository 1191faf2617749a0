import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterDescription } from '@butterfly/orchestrator';
import type { ChaosCluster, ChaosWorker } from '../cluster.js';
import type { RunningStream } from './running-stream.js';

/** Every so many failures is the end of a process. */
const killEvery = 33;
/** And so many a cut between two stages, which is only told of when nobody was lost within seconds. */
const cutsDataEvery = 12;
const recoveryMs = 60_000;
const lookMs = 20;

export interface Failures {
  readonly controlCuts: number;
  readonly dataCuts: number;
  readonly kills: number;
  /** The longest time from a failure to the next piece of the stream under a new plan. */
  readonly longestMs: number;
}

export const noFailures: Failures = { controlCuts: 0, dataCuts: 0, kills: 0, longestMs: 0 };

/** The last workers, beside two, whose processes may be killed: what they hold says nothing of leaks. */
export function mayBeKilled({ workers }: ChaosCluster): readonly ChaosWorker[] {
  return workers.slice(Math.max(2, workers.length - 2));
}

/**
 * Failures of a worker that serves, each waited for until a new plan is live and the stream goes on.
 * @throws Error when one is not recovered from in time
 */
export async function failMany(
  cluster: ChaosCluster,
  stream: RunningStream,
  from: number,
  count: number,
): Promise<Failures> {
  let failures = noFailures;
  for (let index = from; index < from + count; index++) {
    const { cluster: before, served } = await serving(cluster);
    const plansBefore = cluster.plans;
    const startMs = performance.now();
    const kind = await fail(cluster, before, served, index);
    await until(() => cluster.plans > plansBefore, `a plan after failure ${index} (${kind})`);
    const piecesBefore = stream.pieces;
    await until(() => stream.pieces > piecesBefore, `a piece of the stream after failure ${index}`);
    failures = {
      ...failures,
      [kind]: failures[kind] + 1,
      longestMs: Math.max(failures.longestMs, performance.now() - startMs),
    };
  }
  return failures;
}

async function fail(
  cluster: ChaosCluster,
  before: ClusterDescription,
  served: readonly ChaosWorker[],
  index: number,
): Promise<'controlCuts' | 'dataCuts' | 'kills'> {
  const victim = served.find((worker) => mayBeKilled(cluster).includes(worker));
  if (index % killEvery === killEvery - 1 && victim) {
    await victim.process?.kill();
    victim.start();
    return 'kills';
  }
  const stages = before.plan?.stages ?? [];
  const worker = served[index % served.length];
  if (worker === undefined) throw new Error('No worker serves.');
  const isLinked = index % cutsDataEvery === 0 && served.length > 1 && stages[0]?.isRelayed === false;
  const last = served.at(-1);
  if (isLinked && last) {
    last.data.resetAll();
    return 'dataCuts';
  }
  worker.control.resetAll();
  return 'controlCuts';
}

/** The cluster once a plan is in force, and the workers of that, in the order of its stages. */
async function serving(
  cluster: ChaosCluster,
): Promise<{ readonly cluster: ClusterDescription; readonly served: readonly ChaosWorker[] }> {
  const endMs = performance.now() + recoveryMs;
  while (performance.now() < endMs) {
    const described = await cluster.describe();
    const stages = described.plan?.stages ?? [];
    const names = stages.map(
      ({ workerId }) => described.workers.find((each) => each.workerId === workerId)?.name,
    );
    const served = names.flatMap((name) => cluster.workers.filter((worker) => worker.name === name));
    if (described.isReady && served.length === stages.length && served.length > 0)
      return { cluster: described, served };
    await sleep(lookMs);
  }
  throw new Error(['No plan came into force again:', ...cluster.orchestrator.lines.slice(-30)].join('\n'));
}

async function until(isSo: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + recoveryMs;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error(`There was not ${what} within ${recoveryMs} ms.`);
    await sleep(lookMs);
  }
}
