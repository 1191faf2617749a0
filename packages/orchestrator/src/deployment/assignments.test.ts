import { limits } from '@butterfly/common';
import { targetOf } from '@butterfly/control';
import { planOf, profile } from '@butterfly/control/testing';
import { type WorkerProfile, decodeControl, encodeControl, encodeStep } from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { assignments, canaryStep, canaryStepId, preparation, shardIds } from './assignments.js';
import type { ShardSettings } from './deployment-types.js';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { ConnectedWorkers, type TestWorker } from '../testing/cluster.js';

let settings: ShardSettings;
let cluster: ConnectedWorkers;
beforeEach(async () => {
  settings = await tinyModelSettings();
  cluster = await ConnectedWorkers.open('a', 'b', 'c');
});
afterEach(() => cluster.close());

const worker = (id: string): TestWorker => {
  const found = cluster.workers.get(id);
  if (!found) throw new Error(`There is no worker ${id}.`);
  return found;
};

describe('shardIds', () => {
  const f16 = { cacheType: 'f16' } as const;
  const range = { layerStart: 0, layerEnd: 2 };

  it('are the same for the same, whoever loads it from wherever', () => {
    const [file] = settings.spec.files;
    if (!file) throw new Error('The model has no file.');
    const moved = { ...settings, spec: { ...settings.spec, files: [{ ...file, path: '/elsewhere.gguf' }] } };
    expect(shardIds('model', moved)(range, f16)).toBe(shardIds('model', settings)(range, f16));
  });

  it('differ in whatever makes another shard', () => {
    const [file] = settings.spec.files;
    if (!file) throw new Error('The model has no file.');
    const withFile = (change: Partial<typeof file>): ShardSettings => ({
      ...settings,
      spec: { ...settings.spec, files: [{ ...file, ...change }] },
    });
    const ids = [
      shardIds('model', settings)(range, f16),
      shardIds('another model', settings)(range, f16),
      shardIds('model', settings)({ layerStart: 1, layerEnd: 2 }, f16),
      shardIds('model', settings)({ layerStart: 0, layerEnd: 1 }, f16),
      shardIds('model', settings)(range, { cacheType: 'q8_0' }),
      shardIds('model', { ...settings, arenaSlots: 2048 })(range, f16),
      shardIds('model', { ...settings, rowsMax: 128 })(range, f16),
      shardIds('model', { ...settings, isDeterministic: true })(range, f16),
      shardIds('model', withFile({ bytes: file.bytes + 1 }))(range, f16),
      shardIds('model', withFile({ metadataSha256: '1'.repeat(64) }))(range, f16),
      shardIds('model', withFile({ weightsSha256: '1'.repeat(64) }))(range, f16),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('preparation', () => {
  const plan = planOf(['a', 'b', 'c']);
  const [stage] = plan.stages;
  const shard = () => {
    if (!stage) throw new Error('The plan has no stage.');
    return { shardId: 'a'.repeat(32), stage, plan };
  };
  const measured = (changes: Partial<WorkerProfile>): WorkerProfile => ({ ...profile, ...changes });

  it('names the workers that have some of the weights, in the order given', () => {
    worker('a').profile = measured({ cachedBytes: 100 });
    worker('b').profile = measured({ hasFiles: true });
    worker('c').profile = measured({ cachedBytes: 50 });
    const message = preparation(worker('a'), shard(), [worker('c'), worker('b')], settings);
    expect(message).toMatchObject({
      layerStart: 0,
      layerEnd: 4,
      arenaSlots: 1024,
      rowsMax: 64,
      cacheType: 'f16',
    });
    expect(message.sources).toEqual([
      { workerId: 'c', host: '127.0.0.1', port: 40_000 },
      { workerId: 'b', host: '127.0.0.1', port: 40_000 },
    ]);
    // It is one that the wire takes.
    expect(encodeControl(message).length).toBeGreaterThan(0);
  });

  it('names nobody who has nothing, and only as many as the wire takes', () => {
    worker('b').profile = measured({});
    expect(preparation(worker('a'), shard(), [worker('c'), worker('b')], settings).sources).toEqual([]);
    const many = Array.from({ length: limits.weightSourcesMax + 5 }, (_, index) => ({
      ...worker('b'),
      workerId: `w${index}`,
      profile: measured({ cachedBytes: index + 1 }),
    }));
    const { sources } = preparation(worker('a'), shard(), many, settings);
    expect(sources).toHaveLength(limits.weightSourcesMax);
    expect(sources[0]?.workerId).toBe('w0');
  });
});

describe('assignments', () => {
  it('tell each stage of its shard and its ways, later stages first', () => {
    const target = targetOf(planOf(['a', 'b', 'c'], { relayed: 'c' }), shardIds('model', settings));
    const told = assignments({ ...target, epoch: 3 }, cluster.workers, 'secret');
    expect(
      told.map(({ worker: { workerId }, message }) => [workerId, message.stageIndex, message.shardId]),
    ).toEqual([
      ['c', 2, target.shardIds[2]],
      ['b', 1, target.shardIds[1]],
      ['a', 0, target.shardIds[0]],
    ]);
    expect(told.map(({ message: { next, isRelayed } }) => ({ next, isRelayed }))).toEqual([
      { next: { kind: 'direct', workerId: 'a', host: '127.0.0.1', port: 40_000 }, isRelayed: true },
      { next: { kind: 'relay', workerId: 'c' }, isRelayed: false },
      { next: { kind: 'direct', workerId: 'b', host: '127.0.0.1', port: 40_000 }, isRelayed: false },
    ]);
    for (const { message } of told) {
      expect(message).toMatchObject({ kind: 'assign', epoch: 3, stageCount: 3, linkToken: 'secret' });
      expect(encodeControl(message).length).toBeGreaterThan(0);
    }
  });

  it('reach the workers', async () => {
    const target = targetOf(planOf(['a', 'b']), shardIds('model', settings));
    for (const { worker: to, message } of assignments({ ...target, epoch: 1 }, cluster.workers, 'secret')) {
      to.channel.send(encodeControl(message));
      expect(decodeControl(await cluster.party(to.workerId).frame())).toEqual(message);
    }
  });
});

it('the canary is a step that the wire takes, and none of the scheduler', () => {
  const step = canaryStep(1, { arenaSlots: 1024, spec: settings.spec });
  expect(encodeStep(step).length).toBeGreaterThan(0);
  expect(step.stepId).toBe(canaryStepId);
  expect(Number.isSafeInteger(canaryStepId)).toBe(true);
});
