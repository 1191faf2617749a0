import { ButterflyError, limits } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { describeFile, part } from '@butterfly/stage/testing';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import {
  type ControlMessage,
  type ControlMessageOf,
  decodeActivations,
  decodeStep,
  decodeStepResult,
  encodeActivations,
  encodeStep,
  greedySampling,
  tokenOfStepBefore,
} from '@butterfly/wire';
import { beforeAll, describe, expect, it } from 'vitest';
import { assignOf, sampledBy, stepOf } from '../testing/epochs.js';
import {
  peerToken,
  prepareOf,
  ScriptedOrchestrator,
  type Member,
  modelChannel,
  openingOf,
  welcomeOf,
  workerOptions,
} from '../testing/scripted-orchestrator.js';
import { Worker } from './worker.js';

const whole = 'aa'.repeat(16);
const front = 'bb'.repeat(16);
const back = 'cc'.repeat(16);
const noBytes = new Uint8Array(0);
let spec: ModelSpec;

beforeAll(async () => {
  spec = await describeFile(await cachedSyntheticModel(tinyModel));
});

/** Orders a shard and answers what is fetched until it is loaded, or refused. */
async function load(
  member: Member,
  order: ControlMessageOf<'prepare'>,
  hasFile: boolean,
): Promise<ControlMessage> {
  member.send(order);
  for (;;) {
    for (const message of member.take())
      if (message.kind !== 'fetch') return message;
      else if (hasFile) member.answer(message, spec);
      else member.send({ kind: 'fetchMissing', requestId: message.requestId });
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a shard', () => {
  it('is loaded once, and told again when it is ordered again', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    const prepared = await member.prepare(prepareOf(whole, [0, spec.layers]));
    expect(prepared).toMatchObject({ shardId: whole, loaded: { orchestratorBytes: 0, peerBytes: 0 } });
    expect(prepared.loaded.fileBytes).toBeGreaterThan(0);
    expect(prepared.arenaBytes).toBeGreaterThan(0);
    expect(await member.prepare(prepareOf(whole, [0, spec.layers]))).toEqual(prepared);
    await worker.stop();
  });

  it('is held beside others, up to a bound, until it is released', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    const ids = Array.from({ length: limits.shardsHeldMax }, (_, i) => `${i}${'0'.repeat(15)}`);
    for (const id of ids) await member.prepare(prepareOf(id, [0, 1]));
    member.send(prepareOf(whole, [0, 1]));
    expect(await member.next('unprepared')).toMatchObject({ shardId: whole, code: 'PROTOCOL_INVALID' });
    member.send({ kind: 'release', shardId: ids[0] ?? '' });
    expect(await member.prepare(prepareOf(whole, [0, 1]))).toMatchObject({ shardId: whole });
    await worker.stop();
  });

  it('that no model has is refused, and the worker goes on', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    member.send(prepareOf(whole, [0, spec.layers + 1]));
    expect(await member.next('unprepared')).toMatchObject({ shardId: whole, code: 'COMPUTE_INVALID' });
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    await worker.stop();
  });

  it('that is released while it loads makes way for the next', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, { remoteOnly: true });
    member.send(prepareOf(front, [0, 2]));
    const late = [await member.next('fetch')];
    member.send(prepareOf(back, [2, spec.layers]));
    member.send({ kind: 'release', shardId: front });
    const told: string[] = [];
    while (told.length === 0) {
      for (const message of [...late.splice(0), ...member.take()])
        if (message.kind === 'fetch') member.answer(message, spec);
        else told.push('shardId' in message ? `${message.kind} ${message.shardId}` : message.kind);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(told).toEqual([`prepared ${back}`]);
    await worker.stop();
  });

  it('that the orchestrator cannot read is refused, and needs it no more once all of its weights are held', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, { remoteOnly: true });
    expect(await load(member, prepareOf(back, [2, spec.layers]), true)).toMatchObject({ kind: 'prepared' });
    expect(await load(member, prepareOf(front, [0, 2]), false)).toMatchObject({
      kind: 'unprepared',
      shardId: front,
      code: 'MODEL_NOT_FOUND',
    });
    expect(await load(member, prepareOf(whole, [0, spec.layers]), true)).toMatchObject({ kind: 'prepared' });
    member.send(assignOf(1, whole));
    await member.next('ready');
    const token = await sampledBy(member, 1);
    // All of its weights are here now.
    expect(await load(member, prepareOf(front, [0, 2]), false)).toMatchObject({
      ...{ kind: 'prepared', shardId: front },
      loaded: { orchestratorBytes: 0 },
    });
    member.send({ kind: 'release', shardId: back });
    member.send({ kind: 'release', shardId: front });
    expect(await sampledBy(member, 1, 2)).toBe(token);
    await worker.stop();
  });

  it('whose loading fails leaves what is live as it is', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, { remoteOnly: true });
    /** What the last stage samples of some activations. */
    const sampled = async (stepId: number): Promise<number | undefined> => {
      member.channel.send(encodeStep(stepOf(1, { stepId, payload: noBytes })));
      const payload = new Uint8Array(Float32Array.from({ length: spec.hidden }, (_, i) => i % 7).buffer);
      member.channel.send(
        encodeActivations({
          epoch: 1,
          stepId,
          stageTimes: [{ computeMicros: 1, hostMicros: 1 }],
          tokens: noBytes,
          payload,
        }),
      );
      return decodeStepResult(await member.frame('result')).outputs[0]?.tokens[0];
    };
    expect(await load(member, prepareOf(back, [2, spec.layers]), true)).toMatchObject({ kind: 'prepared' });
    member.send(assignOf(1, back, { stageIndex: 1, stageCount: 2, isRelayed: true }));
    await member.next('ready');
    const token = await sampled(1);
    expect(token).toBeGreaterThanOrEqual(0);
    expect(await load(member, prepareOf(whole, [0, spec.layers]), false)).toMatchObject({
      kind: 'unprepared',
      shardId: whole,
      code: 'MODEL_NOT_FOUND',
    });
    expect(await sampled(2)).toBe(token);
    expect(await load(member, prepareOf(whole, [0, spec.layers]), true)).toMatchObject({ kind: 'prepared' });
    expect(await sampled(3)).toBe(token);
    await worker.stop();
  });

  it('cannot be ordered before the worker has told its profile', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const profiler = (): Promise<never> => new Promise(() => undefined);
    const starting = Worker.start({ ...workerOptions(orchestrator.port), profiler, rejoins: false });
    const member = await orchestrator.accept();
    await member.next('hello');
    member.send(welcomeOf([modelChannel]));
    member.send(openingOf(spec));
    const worker = await starting;
    member.send(prepareOf(whole, [0, 1]));
    expect(await worker.closed).toMatchObject({ code: 'PROTOCOL_INVALID' });
    expect(await member.closed).toMatchObject({ code: 'PROTOCOL_INVALID' });
  });
});

describe('an epoch', () => {
  it('begins with a held shard, ends, and begins again with the same', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    const tokens: (number | undefined)[] = [];
    for (const epoch of [1, 2]) {
      member.send(assignOf(epoch, whole));
      expect(await member.next('ready')).toEqual({ kind: 'ready', epoch });
      tokens.push(await sampledBy(member, epoch));
      member.send({ kind: 'unassign', epoch });
    }
    expect(tokens[0]).toBeGreaterThanOrEqual(0);
    expect(tokens[1]).toBe(tokens[0]);
    await worker.stop();
  });

  it('of another plan may take over the shard of one that was not ended', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    for (const epoch of [1, 2]) {
      member.send(assignOf(epoch, whole));
      await member.next('ready');
    }
    // What is left of the old one is dropped.
    member.channel.send(encodeStep(stepOf(1, { stepId: 7 })));
    expect(await sampledBy(member, 2)).toBeGreaterThanOrEqual(0);
    await worker.stop();
  });

  it('keeps its shard until it ends, even when that is released before', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    member.send(assignOf(1, whole));
    await member.next('ready');
    member.send({ kind: 'release', shardId: whole });
    expect(await sampledBy(member, 1)).toBeGreaterThanOrEqual(0);
    member.send({ kind: 'unassign', epoch: 1 });
    member.send(assignOf(2, whole));
    expect(await member.next('failed')).toMatchObject({ epoch: 2, lostWorkerId: null });
    await worker.stop();
  });

  it('fails by a step that does not fit, and the worker stays', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    member.send(assignOf(1, whole));
    await member.next('ready');
    member.channel.send(encodeStep(stepOf(1, { sequences: [part({ regionStart: 100 })] })));
    expect(await member.next('failed')).toMatchObject({ epoch: 1, code: 'COMPUTE_INVALID' });
    member.send({ kind: 'unassign', epoch: 1 });
    member.send(assignOf(2, whole));
    await member.next('ready');
    await worker.stop();
  });

  it('names the next stage when that cannot be reached', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(front, [0, 2]));
    // Nothing listens on the port of an orchestrator that is gone.
    const gone = await ScriptedOrchestrator.open();
    await gone[Symbol.asyncDispose]();
    const next = { kind: 'direct', workerId: 'w2', host: '127.0.0.1', port: gone.port } as const;
    member.send(assignOf(1, front, { stageCount: 2, next }));
    const failed = await member.next('failed');
    expect(failed).toMatchObject({ epoch: 1, code: 'PEER_UNREACHABLE', lostWorkerId: 'w2' });
    await worker.stop();
  });
});

describe('a link that the next stage refuses', () => {
  it('is told as a lost link, so that nobody is left out for it', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    await using refusing = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(front, [0, 2]));
    const next = { kind: 'direct', workerId: 'w2', host: '127.0.0.1', port: refusing.port } as const;
    member.send(assignOf(1, front, { stageCount: 2, next }));
    const stage = await refusing.accept();
    expect(await stage.next('link')).toMatchObject({ peerToken, linkToken: 'secret', epoch: 1 });
    stage.connection.fail(new ButterflyError('JOIN_REFUSED', 'There is no stage here.'));
    expect(await member.next('failed')).toMatchObject({
      epoch: 1,
      code: 'CONNECTION_CLOSED',
      message: expect.stringContaining('There is no stage here.') as string,
      lostWorkerId: 'w2',
    });
    await worker.stop();
  });
});

describe('two stages', () => {
  it('give the same over a link and relayed by the orchestrator as one of all layers', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const first = await orchestrator.startWorker(spec);
    const last = await orchestrator.startWorker(spec);
    await first.member.prepare(prepareOf(front, [0, 2]));
    await last.member.prepare(prepareOf(back, [2, spec.layers]));
    await first.member.prepare(prepareOf(whole, [0, spec.layers]));
    first.member.send(assignOf(1, whole));
    await first.member.next('ready');
    const expected = await sampledBy(first.member, 1);
    first.member.send({ kind: 'unassign', epoch: 1 });

    const direct = { kind: 'direct', workerId: 'w2', host: '127.0.0.1', port: last.dataPort } as const;
    last.member.send(assignOf(2, back, { stageIndex: 1, stageCount: 2 }));
    await last.member.next('ready');
    first.member.send(assignOf(2, front, { stageCount: 2, next: direct }));
    await first.member.next('ready');
    first.member.channel.send(encodeStep(stepOf(2)));
    const linked = decodeStepResult(await last.member.frame('result'));
    expect(linked.outputs[0]?.tokens[0]).toBe(expected);
    for (const { member } of [first, last]) member.send({ kind: 'unassign', epoch: 2 });

    // Each waits for the other's link, in whatever order they are told.
    const toFirst = { kind: 'direct', workerId: 'w1', host: '127.0.0.1', port: first.dataPort } as const;
    last.member.send(assignOf(3, back, { stageIndex: 1, stageCount: 2, next: toFirst }));
    first.member.send(assignOf(3, front, { stageCount: 2, next: direct }));
    for (const { member } of [first, last]) await member.next('ready');
    const unknown = new Uint8Array(Int32Array.of(tokenOfStepBefore(1)).buffer);
    const sequences = [part({ sampling: greedySampling, positionStart: 1 })];
    first.member.channel.send(encodeStep(stepOf(3)));
    first.member.channel.send(encodeStep(stepOf(3, { stepId: 2, sequences, payload: unknown })));
    const [one, ahead] = [await last.member.frame('result'), await last.member.frame('result')].map(
      decodeStepResult,
    );
    expect(one?.outputs[0]?.tokens[0]).toBe(expected);
    const inTurn = new Uint8Array(Int32Array.of(expected ?? 0).buffer);
    first.member.channel.send(encodeStep(stepOf(3, { stepId: 3, sequences, payload: inTurn })));
    const again = decodeStepResult(await last.member.frame('result'));
    expect(again.outputs).toEqual(ahead?.outputs);
    for (const { member } of [first, last]) member.send({ kind: 'unassign', epoch: 3 });

    last.member.send(assignOf(4, back, { stageIndex: 1, stageCount: 2, isRelayed: true }));
    await last.member.next('ready');
    first.member.send(assignOf(4, front, { stageCount: 2, next: { kind: 'relay', workerId: 'w2' } }));
    await first.member.next('ready');
    first.member.channel.send(encodeStep(stepOf(4)));
    const step = decodeStep(await first.member.frame('step'));
    expect(step.payload).toEqual(noBytes);
    last.member.channel.send(encodeStep(step));
    const activations = decodeActivations(await first.member.frame('activations'));
    last.member.channel.send(encodeActivations(activations));
    const relayed = decodeStepResult(await last.member.frame('result'));
    expect(relayed.outputs[0]?.tokens[0]).toBe(expected);
    expect(relayed.stageTimes).toHaveLength(2);
    await Promise.all([first.worker.stop(), last.worker.stop()]);
  });

  it('take nothing of the orchestrator that comes over a link', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, { rejoins: false });
    await member.prepare(prepareOf(back, [2, spec.layers]));
    member.send(assignOf(1, back, { stageIndex: 1, stageCount: 2 }));
    await member.next('ready');
    member.channel.send(encodeStep(stepOf(1, { payload: noBytes })));
    expect(await worker.closed).toMatchObject({ code: 'PROTOCOL_INVALID' });
  });
});
