import { describeFile } from '@butterfly/stage/testing';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { dial, encodeControl } from '@butterfly/wire';
import { expect, it } from 'vitest';
import { Party, peerToken, prepareOf, ScriptedOrchestrator } from '../testing/scripted-orchestrator.js';

const shardId = 'ab'.repeat(16);

it('welcomes the link from the stage before while its own shard still loads, however long that takes', async () => {
  const spec = await describeFile(await cachedSyntheticModel(tinyModel));
  await using orchestrator = await ScriptedOrchestrator.open();
  const { worker, member, dataPort } = await orchestrator.startWorker(spec, { remoteOnly: true });
  member.send(prepareOf(shardId, [1, 3]));
  const unanswered = [await member.next('fetch')];
  const assign = { epoch: 1, shardId, stageIndex: 1, stageCount: 2, next: null, isRelayed: false };
  member.send({ kind: 'assign', ...assign, linkToken: 'secret' });

  const stageBefore = new Party();
  const link = await dial({ host: '127.0.0.1', port: dataPort, handlers: stageBefore.handlers });
  link.send(encodeControl({ kind: 'link', peerToken, linkToken: 'secret', epoch: 1, fromStage: 0 }));
  expect(await stageBefore.next('linked')).toEqual({ kind: 'linked', epoch: 1 });

  const told: string[] = [];
  while (!told.includes('ready')) {
    for (const message of [...unanswered.splice(0), ...member.take()])
      if (message.kind === 'fetch') member.answer(message, spec);
      else told.push(message.kind);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(told).toEqual(['prepared', 'ready']);
  await worker.stop();
  expect(await member.closed).toBe(null);
  await link.close();
});

it('turns away a link with the wrong secret', async () => {
  const spec = await describeFile(await cachedSyntheticModel(tinyModel));
  await using orchestrator = await ScriptedOrchestrator.open();
  const { worker, member, dataPort } = await orchestrator.startWorker(spec);
  await member.prepare(prepareOf(shardId, [1, 3]));
  const assign = { epoch: 5, shardId, stageIndex: 1, stageCount: 2, next: null, isRelayed: false };
  member.send({ kind: 'assign', ...assign, linkToken: 'secret' });
  await member.next('ready');
  const stranger = new Party();
  const link = await dial({ host: '127.0.0.1', port: dataPort, handlers: stranger.handlers });
  link.send(encodeControl({ kind: 'link', peerToken, linkToken: 'guess', epoch: 5, fromStage: 0 }));
  expect(await stranger.closed).toMatchObject({ code: 'JOIN_REFUSED' });
  await worker.stop();
});
