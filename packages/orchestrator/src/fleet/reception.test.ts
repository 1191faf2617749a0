import { ButterflyError, type Clock, deadlines, limits, systemClock } from '@butterfly/common';
import { SharedTokenAdmission } from '@butterfly/identity';
import {
  type Connection,
  type ControlMessage,
  type Frame,
  type Listener,
  dial,
  encodeControl,
  encodeStep,
  listen,
} from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { canaryStep } from '../deployment/assignments.js';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { identityOf, Party } from '../testing/cluster.js';
import { Reception, type ReceptionOptions } from './reception.js';
import type { WorkerRecord } from './fleet-worker.js';

/** The time of day, but a test may end a wait of some length at once. */
class ImpatientClock implements Clock {
  readonly #waits = new Map<() => void, number>();

  nowMs(): number {
    return systemClock.nowMs();
  }

  after(delayMs: number, callback: () => void): () => void {
    const end = (): void => {
      cancel();
      callback();
    };
    const cancelTimer = systemClock.after(delayMs, end);
    const cancel = (): void => {
      cancelTimer();
      this.#waits.delete(end);
    };
    this.#waits.set(end, delayMs);
    return cancel;
  }

  /** How many waits of this length are under way; of any length without one. */
  waits(delayMs?: number): number {
    return [...this.#waits.values()].filter((each) => delayMs === undefined || each === delayMs).length;
  }

  end(delayMs: number): void {
    for (const [end, each] of [...this.#waits]) if (each === delayMs) end();
  }
}

let clock: ImpatientClock;
let listener: Listener;
let welcomed: WorkerRecord[];
let frames: { readonly workerId: string; readonly frame: Frame }[];
let left: { readonly workerId: string; readonly error: ButterflyError | null; readonly reason: string }[];
let clients: Connection[];

async function open(changes: Partial<ReceptionOptions> = {}): Promise<void> {
  const reception = new Reception({
    admission: new SharedTokenAdmission('secret'),
    peerToken: 'of peers',
    channels: () => [3],
    clock,
    observe: () => undefined,
    count: () => welcomed.length,
    onWelcome: (worker) => welcomed.push(worker),
    onFrame: ({ workerId }, frame) => frames.push({ workerId, frame }),
    onClose: ({ workerId }, error, reason) => left.push({ workerId, error, reason }),
    ...changes,
  });
  listener = await listen({ host: '127.0.0.1', port: 0, onConnection: (stream) => reception.accept(stream) });
}

beforeEach(() => {
  clock = new ImpatientClock();
  [welcomed, frames, left, clients] = [[], [], [], []];
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await listener.close();
});

async function knock(): Promise<{ client: Connection; party: Party }> {
  const party = new Party();
  const client = await dial({ host: '127.0.0.1', port: listener.port, handlers: party.handlers });
  clients.push(client);
  return { client, party };
}

const hello = (token: string | null = 'secret', name = 'anna'): ControlMessage => ({
  kind: 'hello',
  token,
  worker: identityOf(name),
});

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Nobody was let in, and nothing waits for the one who was not. */
async function expectNothingLeft(): Promise<void> {
  await Promise.all(clients.map((client) => client.close()));
  await until(() => clock.waits() === 0);
  expect([welcomed, frames, left]).toEqual([[], [], []]);
}

describe('a proper hello', () => {
  it('is answered with all that a worker needs to know, and each worker has an id of its own', async () => {
    await open();
    for (const workerId of ['w1', 'w2']) {
      const { client, party } = await knock();
      client.send(encodeControl(hello()));
      expect(await party.next('welcome')).toMatchObject({
        workerId,
        heartbeatEveryMs: deadlines.heartbeatEveryMs,
        heartbeatSilenceMs: deadlines.heartbeatSilenceMs,
        peerToken: 'of peers',
        channels: [3],
      });
    }
    expect(welcomed.map(({ workerId, identity }) => [workerId, identity.name])).toEqual([
      ['w1', 'anna'],
      ['w2', 'anna'],
    ]);
    expect(clock.waits(deadlines.handshakeMs)).toBe(0);
  });

  it('is followed by frames of that worker, in order', async () => {
    await open();
    const { client, party } = await knock();
    client.send(encodeControl(hello()));
    await party.next('welcome');
    client.send(encodeControl({ kind: 'ready', epoch: 1 }));
    const { spec, arenaSlots } = await tinyModelSettings();
    client.send(encodeStep(canaryStep(1, { arenaSlots, spec })));
    await until(() => frames.length === 2);
    expect(frames.map(({ workerId, frame }) => [workerId, frame.type])).toEqual([
      ['w1', 'control'],
      ['w1', 'step'],
    ]);
  });

  it('and a goodbye later is told as one, and a break as one', async () => {
    await open();
    const [orderly, broken] = [await knock(), await knock()];
    for (const { client, party } of [orderly, broken]) {
      client.send(encodeControl(hello()));
      await party.next('welcome');
    }
    await orderly.client.close('I go home');
    await until(() => left.length === 1);
    expect(left[0]).toMatchObject({ workerId: 'w1', error: null, reason: 'I go home' });
    broken.client.fail(new ButterflyError('COMPUTE_FAILED', 'The test.'));
    await until(() => left.length === 2);
    expect(left[1]).toMatchObject({ workerId: 'w2', error: { code: 'COMPUTE_FAILED' } });
    await until(() => clock.waits() === 0);
  });
});

describe('whoever says no proper hello', () => {
  it.each<ControlMessage>([
    { kind: 'ready', epoch: 1 },
    { kind: 'peer', peerToken: 'of peers' },
    { kind: 'fetch', requestId: 1, fileIndex: 0, offset: 0, bytes: 10 },
  ])('but $kind is told so and let go', async (message) => {
    await open();
    const { client, party } = await knock();
    client.send(encodeControl(message));
    const { error, reason } = await party.closed;
    expect(error?.code).toBe('PROTOCOL_INVALID');
    expect(reason).toMatch(`"${message.kind}" instead of "hello"`);
    await expectNothingLeft();
  });

  it('but a step is told so and let go', async () => {
    await open();
    const { client, party } = await knock();
    const { spec, arenaSlots } = await tinyModelSettings();
    client.send(encodeStep(canaryStep(1, { arenaSlots, spec })));
    expect((await party.closed).error?.code).toBe('PROTOCOL_INVALID');
    await expectNothingLeft();
  });

  it('but noise is told so and let go', async () => {
    await open();
    const { client, party } = await knock();
    client.send([Buffer.from('GET / HTTP/1.1\r\nHost: butterfly\r\n\r\n')]);
    expect((await party.closed).error?.code).toBe('PROTOCOL_INVALID');
    await expectNothingLeft();
  });

  it('in time is let go with TIMEOUT', async () => {
    await open();
    const { party } = await knock();
    await until(() => clock.waits(deadlines.handshakeMs) === 1);
    clock.end(deadlines.handshakeMs);
    const { error, reason } = await party.closed;
    expect(error?.code).toBe('TIMEOUT');
    expect(reason).toMatch('No hello');
    await expectNothingLeft();
  });

  it('and hangs up leaves nothing behind', async () => {
    await open();
    const { client } = await knock();
    await until(() => clock.waits(deadlines.handshakeMs) === 1);
    await client.close();
    await expectNothingLeft();
  });

  it.each([null, 'guess'])('but a wrong token, %j, is refused', async (token) => {
    await open();
    const { client, party } = await knock();
    client.send(encodeControl(hello(token)));
    const { error, reason } = await party.closed;
    expect(error?.code).toBe('JOIN_REFUSED');
    expect(reason).toMatch('--token');
    await expectNothingLeft();
  });

  it('with room for no more workers is refused', async () => {
    await open({ count: () => limits.workersMax });
    const { client, party } = await knock();
    client.send(encodeControl(hello()));
    expect((await party.closed).error?.code).toBe('JOIN_REFUSED');
    await expectNothingLeft();
  });
});
