import { type Clock, deadlines } from '@butterfly/common';
import { profile } from '@butterfly/control/testing';
import { encodeControl } from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConnectedWorkers } from '../testing/cluster.js';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { FileServer } from './file-server.js';
import { ModelWorkers } from './model-workers.js';

/** Time that passes when a test says so. */
class PatientClock implements Clock {
  readonly #waits = new Map<() => void, number>();

  nowMs(): number {
    return 0;
  }

  after(delayMs: number, callback: () => void): () => void {
    const wait = (): void => callback();
    this.#waits.set(wait, delayMs);
    return () => void this.#waits.delete(wait);
  }

  /** @returns how many waits of this length there were */
  end(delayMs: number): number {
    const due = [...this.#waits].filter(([, each]) => each === delayMs);
    for (const [wait] of due) {
      this.#waits.delete(wait);
      wait();
    }
    return due.length;
  }
}

let cluster: ConnectedWorkers;
let clock: PatientClock;
let models: ModelWorkers;
let measured: string[];
beforeEach(async () => {
  cluster = await ConnectedWorkers.open('a');
  clock = new PatientClock();
  measured = [];
  const { spec: model, isDeterministic } = await tinyModelSettings();
  const none = (): void => undefined;
  models = new ModelWorkers(
    { channel: 7, name: 'tiny', model, isDeterministic, files: new FileServer(model), clock, observe: none },
    { onMeasured: ({ workerId }) => measured.push(workerId), onMessage: none, onFrame: none },
  );
});
afterEach(() => cluster.close());

function add(openModels: number): void {
  const worker = cluster.workers.get('a');
  if (worker) models.add(worker, openModels);
}

const profileFrame = () => {
  const header = encodeControl({ kind: 'profile', ...profile, heldShards: ['ab'.repeat(16)] })[0];
  if (!header) throw new Error('It has no bytes.');
  return { type: 'control', header: header.subarray(24), payload: new Uint8Array(0) } as const;
};

describe('a worker of a model', () => {
  it('is told of the model, and measures itself', async () => {
    add(1);
    expect(await cluster.party('a').next('openModel')).toMatchObject({ channel: 7, name: 'tiny' });
    expect(models.workers.get('a')?.profile).toBeNull();
    models.receive('a', profileFrame());
    expect(measured).toEqual(['a']);
    expect(models.workers.get('a')).toMatchObject({ profile, keptShards: ['ab'.repeat(16)] });
    expect(clock.end(deadlines.profileMs)).toBe(0);
    expect(() => models.receive('a', profileFrame())).toThrow(/twice/);
  });

  it('that does not tell in time what it measured is let go, later where it has several models to measure', async () => {
    add(2);
    const { connection } = cluster.workers.get('a') ?? {};
    expect([clock.end(deadlines.profileMs), connection?.isOpen]).toEqual([0, true]);
    expect(clock.end(2 * deadlines.profileMs)).toBe(1);
    expect(connection?.isOpen).toBe(false);
    expect((await cluster.party('a').closed).error).toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('No profile') as string,
    });
  });

  it('is told when it is served no more, and sends in vain what it still sends', async () => {
    add(1);
    const { channel } = models.workers.get('a') ?? {};
    await models.close();
    expect([channel?.isOpen, models.workers.size]).toEqual([false, 0]);
    await cluster.party('a').next('openModel');
    expect(await cluster.party('a').next('closeModel')).toEqual({ kind: 'closeModel', channel: 7 });
    models.receive('a', profileFrame());
    expect(measured).toEqual([]);
  });
});
