import { describeFamilyModel, openGguf } from '@butterfly/model';
import type { ClusterDescription, VerificationDescription } from '@butterfly/orchestrator';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { model } from './testing/models.js';
import { corruptMemory } from './testing/process-memory.js';
import { Server, streamFrom } from './testing/server.js';

const flags = [
  '--workers',
  '3',
  '--ctx',
  '1024',
  '--parallel',
  '4',
  '--spares',
  '1',
  '--verify',
  '1',
  '--deterministic',
];

async function clusterOf(server: Server): Promise<ClusterDescription> {
  return (await (await fetch(`${server.url}/cluster`)).json()) as ClusterDescription;
}

async function verified(server: Server): Promise<VerificationDescription> {
  const verification = (await clusterOf(server)).replicas[0]?.verification;
  if (!verification) throw new Error('Nothing is verified.');
  return verification;
}

/** Once the second worker is as far as the first, which it need not be when a request ends. */
async function verifiedByNow(server: Server): Promise<VerificationDescription> {
  for (;;) {
    const verification = await verified(server);
    if (verification.pendingSteps === 0) return verification;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The process of a stage. */
async function workerOf(
  server: Server,
  stage: number,
): Promise<{
  readonly name: string;
  readonly pid: number;
  readonly layers: readonly [number, number];
}> {
  const { workers, replicas } = await clusterOf(server);
  const planned = replicas[0]?.plan?.stages[stage];
  const name = workers.find(({ workerId }) => workerId === planned?.workerId)?.name;
  const started = server.records('A local worker starts.').find((record) => record.name === name);
  if (!planned || name === undefined || !started) throw new Error('There is no such stage.');
  const layers = [planned.layerStart, planned.layerEnd - 1] as const;
  return { name, pid: Number(started.workerPid), layers };
}

/** Until a spare may be asked; gives the stage that it holds. */
async function auditedStage(server: Server): Promise<number> {
  for (;;) {
    const [stage] = (await verified(server)).stages;
    if (stage !== undefined) return stage;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The bytes of a norm of a layer, which are in memory as they are in the file. */
async function normOf(layer: number): Promise<Buffer> {
  const { tensors } = describeFamilyModel(await openGguf(model));
  const tensor = tensors.find(({ name }) => name === `blk.${layer}.ffn_norm.weight`);
  if (!tensor) throw new Error(`There is no norm in layer ${layer}.`);
  return readFileSync(model).subarray(tensor.offset, tensor.offset + 4 * (tensor.shape[0] ?? 0));
}

it('finds a worker whose memory changes, which is left out, and goes on with the right words', async () => {
  await using server = await new Server(flags).ready();
  const ask = (prompt: string): Promise<{ readonly text: string }> => streamFrom(server, prompt, 60);
  const prompts = ['Once upon a time', 'The little dog', 'Tom and Lily went'];
  const askAll = () =>
    server.inOnePlan(async () => ({
      stage: await auditedStage(server),
      start: await verifiedByNow(server),
      undisturbed: await Promise.all(prompts.map(ask)),
      before: await verifiedByNow(server),
    }));
  let asked = await askAll();
  // A spare that other programs keep from its steps for seconds is waited for no longer.
  while (asked.before.abandoned > asked.start.abandoned) asked = await askAll();
  const { stage, start, undisturbed, before } = asked;
  expect(before.sequences - start.sequences).toBe(3);
  expect(before.differenceMax).toBe(0);
  expect(before.steps - start.steps).toBeGreaterThan(100);

  const victim = await workerOf(server, stage);
  const norm = await normOf(victim.layers[0]);
  const bad = Buffer.from(norm);
  bad.writeFloatLE(norm.readFloatLE(0) * 1.5, 0);
  expect(corruptMemory(victim.pid, norm, bad)).toBeGreaterThan(0);

  await ask('Once');
  const found = await server.until(
    'the finding',
    () => server.stderr.find((line) => line.includes('Two workers came to different numbers')) ?? null,
  );
  expect(JSON.parse(found)).toMatchObject({ layers: victim.layers });
  expect((await verified(server)).steps - before.steps).toBeLessThan(10);
  expect(await Promise.all(prompts.map(ask))).toEqual(undisturbed);
  const { workers } = await clusterOf(server);
  expect(workers.find(({ name }) => name === victim.name)).toMatchObject({ state: 'leftOut' });
  // Nobody knows which of the two is right, and the third can hold the model by itself.
  expect(workers.map(({ state }) => state).sort()).toEqual(['leftOut', 'leftOut', 'serving']);
}, 60_000);
