import { ButterflyError, type Clock, deadlines, systemClock } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { describeFile } from '@butterfly/stage/testing';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { assignOf, sampledBy } from '../testing/epochs.js';
import { prepareOf, ScriptedOrchestrator } from '../testing/scripted-orchestrator.js';

const whole = 'aa'.repeat(16);
let spec: ModelSpec;

beforeAll(async () => {
  spec = await describeFile(await cachedSyntheticModel(tinyModel));
});

describe('a worker that loses its orchestrator', () => {
  const lost = new ButterflyError('TIMEOUT', 'The worker was silent.');

  it('comes back with what it holds, and serves again', async () => {
    const kinds: string[] = [];
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, {
      observe: ({ kind }) => void kinds.push(kind),
    });
    const prepared = await member.prepare(prepareOf(whole, [0, spec.layers]));
    member.send(assignOf(1, whole));
    await member.next('ready');
    const token = await sampledBy(member, 1);
    member.connection.destroy(lost);

    const again = await orchestrator.accept();
    expect(await again.welcome(spec)).toMatchObject({ heldShards: [whole] });
    expect(await again.next('prepared')).toEqual(prepared);
    again.send(assignOf(1, whole));
    await again.next('ready');
    expect(await sampledBy(again, 1)).toBe(token);
    expect(kinds.filter((kind) => kind.startsWith('orchestrator'))).toEqual([
      'orchestratorLost',
      'orchestratorRejoined',
    ]);
    await worker.stop();
    expect(await worker.closed).toBe(null);
  });

  it('gives up what it holds when the next one has another model', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    member.connection.destroy(lost);
    const other = await describeFile(await cachedSyntheticModel({ ...tinyModel, seed: 2 }));
    const again = await orchestrator.accept();
    await again.welcome(other);
    again.connection.destroy(lost);
    const third = await orchestrator.accept();
    expect(await third.welcome(other)).toMatchObject({ heldShards: [] });
    await worker.stop();
  });

  it('ends when it is told to go', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    await member.prepare(prepareOf(whole, [0, spec.layers]));
    await member.connection.close('the worker is drained');
    expect(await worker.closed).toBe(null);
  });

  it('ends when it is refused', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    member.connection.destroy(lost);
    const again = await orchestrator.accept();
    await again.next('hello');
    again.connection.fail(new ButterflyError('JOIN_REFUSED', 'There are enough workers.'));
    expect(await worker.closed).toMatchObject({ code: 'JOIN_REFUSED' });
  });

  it('comes back by itself when it was kept out, and no sooner than it was told', async () => {
    const pausesMs: number[] = [];
    const clock: Clock = {
      nowMs: () => systemClock.nowMs(),
      after: (delayMs, callback) => {
        pausesMs.push(delayMs);
        return systemClock.after(delayMs > 60_000 ? 0 : delayMs, callback);
      },
    };
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, { clock });
    const told = (code: 'PROTOCOL_INVALID' | 'KEPT_OUT', retryAfterMs: number) =>
      new ButterflyError(code, 'The test.', { retryAfterMs });
    member.connection.fail(told('PROTOCOL_INVALID', 111_111));
    const again = await orchestrator.accept();
    expect(pausesMs).toContain(111_111);
    await again.next('hello');
    again.connection.fail(told('KEPT_OUT', 8_000_000));
    const third = await orchestrator.accept();
    // It is told more than anybody is ever kept out.
    expect(pausesMs).toContain(deadlines.keptOutMaxMs);
    await third.welcome(spec);
    await worker.stop();
  });

  it('ends with it when it is not to come back', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec, { rejoins: false });
    member.connection.destroy(lost);
    expect(await worker.closed).toMatchObject({ code: 'CONNECTION_CLOSED' });
  });

  it('can be stopped while it tries to come back', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    member.connection.destroy(lost);
    const again = await orchestrator.accept();
    await again.next('hello');
    await worker.stop();
    expect(await worker.closed).toBe(null);
    expect(await again.closed).toBe(null);
  });
});
