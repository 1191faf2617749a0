import { setTimeout as after } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { run, type Butterfly } from './testing/butterfly.js';
import { Server, startWorker, streamFrom, type Outcome, type StageProcess } from './testing/server.js';

const prompts = ['The', 'A neural', 'Layers', 'tensor', 'Once', 'In the', 'We', 'Each'];
const args = ['--workers', '4', '--stages', '2', '--replicas', '2', '--ctx', '1024', '--parallel', '8'];

/** The stages of each plan that went live, by its epoch. */
function stagesByEpoch(server: Server): Map<number, StageProcess[]> {
  const byEpoch = new Map<number, StageProcess[]>();
  for (const record of server.records('The stage is ready.') as unknown as StageProcess[])
    byEpoch.set(record.epoch, [...(byEpoch.get(record.epoch) ?? []), record]);
  return byEpoch;
}

const stream = (server: Server, prompt: string, onPiece?: () => void): Promise<Outcome> =>
  streamFrom(server, prompt, 700, onPiece);

interface LivePlan {
  readonly replica: number;
  readonly stages: readonly unknown[];
}

/** Whether so many plans were live, and the last one of each replica has two stages. */
function areWhole(server: Server, plansMin: number): boolean {
  const plans = server.records('The plan is live.') as unknown as LivePlan[];
  const last = [1, 2].map((replica) => plans.findLast((plan) => plan.replica === replica)?.stages.length);
  return plans.length >= plansMin && last.join() === '2,2';
}

async function wholeReplicas(server: Server, plansMin: number): Promise<void> {
  await server.until('two whole replicas', () => (areWhole(server, plansMin) ? true : null));
}

/** Workers that measured themselves beside others may seem too slow to be worth a replica: others take their places. */
async function untilWhole(server: Server, guests: Butterfly[]): Promise<void> {
  for (let waitedSeconds = 1; !areWhole(server, 2); waitedSeconds++) {
    await after(1000);
    if (waitedSeconds % 30 !== 0) continue;
    for (const guest of guests.splice(0)) await guest[Symbol.asyncDispose]();
    for (const name of ['guest-0', 'guest-1'])
      guests.push(startWorker(server, ['--name', `${name}-after-${waitedSeconds}-s`]));
  }
}

interface Replicas {
  readonly replicas: readonly { readonly running: number; readonly isReady: boolean }[];
}

async function askReplicas(server: Server): Promise<Replicas['replicas']> {
  return ((await (await fetch(`${server.url}/cluster`)).json()) as Replicas).replicas;
}

describe('two replicas of a pipeline', () => {
  it('share the requests, and a worker that dies costs no token of either', async () => {
    await using alone = await new Server(['--workers', '1', '--ctx', '1024', '--parallel', '8']).ready();
    const undisturbed = await Promise.all(prompts.map((prompt) => stream(alone, prompt)));

    await using server = await new Server(args).ready();
    await server.plans(2);
    const [first, second] = [...stagesByEpoch(server).values()];
    expect([first?.length, second?.length]).toEqual([2, 2]);
    const pids = [...(first ?? []), ...(second ?? [])].map(({ pid }) => pid);
    expect(new Set(pids).size).toBe(4);

    let pieces = 0;
    let loads: readonly number[] = [];
    let isHit = false;
    const outcomes = await Promise.all(
      prompts.map((prompt) =>
        stream(server, prompt, () => {
          pieces += 1;
          if (pieces === 80)
            void askReplicas(server).then((all) => (loads = all.map(({ running }) => running)));
          if (pieces === 200) isHit = process.kill(second?.[0]?.pid ?? 0, 'SIGKILL');
        }),
      ),
    );
    expect(outcomes).toEqual(undisturbed);
    expect(isHit).toBe(true);
    expect([loads.length, loads.every((running) => running > 0)]).toEqual([2, true]);
    // The one that was started in its place takes its part again.
    await wholeReplicas(server, 3);
    const status = await run(['status', '--url', server.url]);
    expect(status.stdout.join('\n')).toMatch(/4 stages in 2 replicas/);
    const plan = await run(['plan', '--of', server.url]);
    expect(plan.stdout.filter((line) => /^Replica \d: ready/.test(line))).toHaveLength(2);
  });

  it('are made of one as soon as there are workers for another, with no stream cut', async () => {
    const alone = ['--workers', '2', '--stages', '2', '--replicas', '2', '--ctx', '1024', '--parallel', '8'];
    await using server = await new Server(alone).ready();
    const undisturbed = await Promise.all(prompts.map((prompt) => stream(server, prompt)));
    const guests: Butterfly[] = [];
    try {
      const outcomes = await Promise.all(
        prompts.map((prompt, index) =>
          stream(server, prompt, () => {
            if (index < 2 && guests.length === index)
              guests.push(startWorker(server, ['--name', `guest-${index}`]));
          }),
        ),
      );
      expect(outcomes).toEqual(undisturbed);
      await untilWhole(server, guests);
      expect((await askReplicas(server)).map(({ isReady }) => isReady)).toEqual([true, true]);
    } finally {
      for (const guest of guests) await guest[Symbol.asyncDispose]();
    }
  });
});
