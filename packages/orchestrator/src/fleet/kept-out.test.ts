import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import {
  type ButterflyError,
  type ButterflyEvent,
  type Clock,
  deadlines,
  systemClock,
} from '@butterfly/common';
import { SharedTokenAdmission } from '@butterfly/identity';
import {
  Connection,
  type ControlMessage,
  dial,
  encodeControl,
  encodeFrame,
  protocolVersion,
} from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { identityOf, Party } from '../testing/cluster.js';
import { type Guest, SecureFleet } from '../testing/secure-fleet.js';
import { Fleet } from './fleet.js';

const host = '127.0.0.1';
const noise = Buffer.from('GET / HTTP/1.1\r\nHost: butterfly\r\n\r\n');
const none = (): void => undefined;
const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
});

/** Time that passes when a test says so, but for waits, which take what they take. */
class MovedClock implements Clock {
  #nowMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    return systemClock.after(delayMs, callback);
  }

  pass(durationMs: number): void {
    this.#nowMs += durationMs;
  }
}

type Breach = Extract<ButterflyEvent, { readonly kind: 'protocolBroken' }>;

/** A fleet over TLS, what it tells of those who break the protocol, and its clock. */
async function start() {
  const clock = new MovedClock();
  const breaches: Breach[] = [];
  const observe = (event: ButterflyEvent): void => {
    if (event.kind === 'protocolBroken') breaches.push(event);
  };
  const cluster = await SecureFleet.open(clock, { observe });
  open.push(cluster);
  return { cluster, clock, breaches };
}

/** A control frame of which one byte was changed. */
function damaged(message: ControlMessage): Buffer {
  const bytes = Buffer.concat(encodeControl(message));
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 2) ^ 1, bytes.length - 2);
  return bytes;
}

/** A frame whose prelude is right, and whose header no decoder takes. */
const control = (header: string): Buffer =>
  Buffer.concat(encodeFrame({ type: 'control', header: Buffer.from(header) }));

async function errorOf({ party }: Pick<Guest, 'party'>): Promise<ButterflyError | null> {
  return (await party.closed).error;
}

/** Has a worker break the protocol and dial again, and gives what it is told each time. */
async function offend({ cluster }: Awaited<ReturnType<typeof start>>, guest: Guest, name: string) {
  guest.connection.send([noise]);
  const first = await errorOf(guest);
  return { first, second: await errorOf(await cluster.knock(guest.membership, name)) };
}

/** Somebody without a certificate, and what they are told in the end. */
async function strangerSays(port: number, bytes: Buffer): Promise<ButterflyError | null> {
  const socket: TLSSocket = connect({ host, port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const party = new Party();
  const connection = new Connection(socket, { handlers: party.handlers });
  connection.send([bytes]);
  return errorOf({ party });
}

describe('a member that breaks the protocol', () => {
  it.each<[string, string, (guest: Guest) => void]>([
    ['noise', 'does not speak', ({ connection }) => connection.send([noise])],
    [
      'a damaged frame',
      'checksum',
      ({ connection }) => connection.send([damaged({ kind: 'ready', epoch: 1 })]),
    ],
    ['no JSON', 'not JSON', ({ connection }) => connection.send([control('{')])],
    ['an unknown message', 'kind', ({ connection }) => connection.send([control('{"kind":"conquer"}')])],
    [
      'a value out of range',
      'epoch',
      ({ connection }) => connection.send([control('{"kind":"ready","epoch":-1}')]),
    ],
  ])(
    'by %s is told what was wrong and for how long it is kept out, and is named',
    async (_, words, breakIt) => {
      const { cluster, breaches } = await start();
      const guest = await cluster.join('anna');
      const member = cluster.memberOf('w1');
      breakIt(guest);
      expect(await errorOf(guest)).toMatchObject({
        code: 'PROTOCOL_INVALID',
        message: expect.stringMatching(new RegExp(`${words}.* not let in for 1 s\\.$`, 'u')) as string,
        retryAfterMs: deadlines.keptOutMinMs,
      });
      expect(breaches).toMatchObject([
        {
          member,
          workerId: 'w1',
          name: 'anna',
          peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/u) as string,
          reason: expect.stringContaining(words) as string,
          offences: 1,
          keptOutMs: deadlines.keptOutMinMs,
        },
      ]);
    },
  );

  it('is kept out for its time, longer each time, and comes back by itself after that', async () => {
    const cluster = await start();
    let guest = await cluster.cluster.join('anna');
    for (const seconds of [1, 4, 16]) {
      const { first, second } = await offend(cluster, guest, 'anna');
      expect(first?.message).toContain(`not let in for ${seconds} s`);
      expect(second).toMatchObject({
        code: 'KEPT_OUT',
        message: expect.stringMatching(/^This worker broke the protocol .* does not speak/u) as string,
      });
      expect(second?.retryAfterMs).toBeLessThanOrEqual(seconds * 1000);
      cluster.clock.pass(seconds * 1000);
      guest = await cluster.cluster.knock(guest.membership, 'anna');
      await guest.party.next('welcome');
    }
    expect(cluster.breaches.map(({ offences }) => offences)).toEqual([1, 2, 3]);
    cluster.clock.pass(deadlines.offencesForgottenMs);
    expect((await offend(cluster, guest, 'anna')).first?.message).toContain('not let in for 1 s');
  });

  it('matters to nobody else at its address: who is there stays, and others join', async () => {
    const cluster = await start();
    const [anna, bert] = [await cluster.cluster.join('anna'), await cluster.cluster.join('bert')];
    expect((await offend(cluster, anna, 'anna')).second?.code).toBe('KEPT_OUT');
    await cluster.cluster.join('carl');
    expect(bert.connection.isOpen).toBe(true);
  });

  it('is another one than who reports an error, or speaks another version', async () => {
    const cluster = await start();
    const { connection, party, membership } = await cluster.cluster.join('anna');
    connection.send(encodeControl({ kind: 'error', code: 'PROTOCOL_INVALID', message: 'You do.' }));
    await party.closed;
    const again = await cluster.cluster.knock(membership, 'anna');
    await again.party.next('welcome');
    const later = Buffer.concat(encodeControl({ kind: 'ready', epoch: 1 }));
    later.writeUInt8(protocolVersion + 1, 4);
    again.connection.send([later]);
    expect((await errorOf(again))?.code).toBe('PROTOCOL_VERSION');
    await (await cluster.cluster.knock(membership, 'anna')).party.next('welcome');
    expect(cluster.breaches).toEqual([]);
  });
});

describe('a stranger that breaks the protocol', () => {
  it('has its address kept out, but for those there who prove who they are', async () => {
    const { cluster, clock, breaches } = await start();
    const early = await cluster.join('anna');
    const late = await cluster.enrol('bert');
    expect((await strangerSays(cluster.port, noise))?.code).toBe('PROTOCOL_INVALID');
    expect(breaches).toMatchObject([{ member: null, workerId: null, name: null, offences: 1 }]);
    for (const bytes of [noise, Buffer.concat(encodeControl({ kind: 'ready', epoch: 1 }))])
      expect(await strangerSays(cluster.port, bytes)).toMatchObject({
        code: 'KEPT_OUT',
        message: expect.stringContaining('Somebody at this address') as string,
      });
    // A stranger as well, as long as it has no certificate.
    await expect(cluster.enrol('carl')).rejects.toMatchObject({ code: 'KEPT_OUT' });
    await (await cluster.knock(late, 'bert')).party.next('welcome');
    expect(early.connection.isOpen).toBe(true);
    expect(breaches).toHaveLength(1);
    clock.pass(deadlines.keptOutMinMs);
    await cluster.join('carl');
  });
});

describe('a worker without certificates that breaks the protocol', () => {
  it('is kept out alone, although others have its address', async () => {
    const admission = new SharedTokenAdmission('secret');
    const clock = new MovedClock();
    const fleet = new Fleet({ host, port: 0, channels: () => [], clock, admission, observe: none });
    open.push({ [Symbol.asyncDispose]: () => fleet.close() });
    await fleet.open({ onWelcome: none, onMessage: none, onFrame: none, onLeft: none });
    const knock = async (name: string) => {
      const party = new Party();
      const connection = await dial({ host, port: fleet.port, handlers: party.handlers });
      open.push({ [Symbol.asyncDispose]: () => connection.close() });
      connection.send(encodeControl({ kind: 'hello', token: 'secret', worker: identityOf(name) }));
      return { party, connection };
    };
    const [anna, bert] = [await knock('anna'), await knock('bert')];
    for (const { party } of [anna, bert]) await party.next('welcome');
    anna.connection.send([noise]);
    expect((await errorOf(anna))?.code).toBe('PROTOCOL_INVALID');
    expect((await errorOf(await knock('anna')))?.code).toBe('KEPT_OUT');
    await (await knock('carl')).party.next('welcome');
    expect(bert.connection.isOpen).toBe(true);
    clock.pass(deadlines.keptOutMinMs);
    await (await knock('anna')).party.next('welcome');
  });
});
