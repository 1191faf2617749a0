// A plan for the least energy instead of the most speed, by what each machine draws.
import { createCluster, type OwnObjective } from 'butterfly';

const watts: Record<string, number> = { 'local-1': 65, 'local-2': 6 };
const energy: OwnObjective = {
  name: 'joules per token',
  costOf: ({ stages, predicted }) =>
    stages.reduce((sum, { name }) => sum + (watts[name] ?? 100), 0) / predicted.tokensPerSecond,
};

await using cluster = await createCluster({ workers: 2, objective: energy });
await cluster.ready();
const { plan, workers } = cluster.describe();
const names = new Map(workers.map(({ workerId, name }) => [workerId, name]));
for (const { workerId, isUsed, reason } of plan?.reasons ?? [])
  console.log(`${isUsed ? '+' : '-'} ${names.get(workerId)}: ${reason}`);
