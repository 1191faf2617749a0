import { type Clock, systemClock } from '@butterfly/common';
import { ManualClock } from '@butterfly/common/testing';
import { CertificateMembership, openSecurity, parseJoinToken } from '@butterfly/identity';
import { type Connection, encodeControl } from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { identityOf, Party } from '../testing/cluster.js';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { Fleet } from './fleet.js';

const host = '127.0.0.1';
const workerLifeMs = 3_600_000;
const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

/** Time as it is, but for what is due only when certificates end: that comes when a test says so. */
function clockWithHours(hours: ManualClock): Clock {
  return {
    nowMs: () => systemClock.nowMs(),
    after: (delayMs, callback) => (delayMs > workerLifeMs / 2 ? hours : systemClock).after(delayMs, callback),
  };
}

/** A fleet whose workers join over TLS, with certificates of an hour. */
async function start() {
  const security = { kind: 'certificates', directory: null, token: undefined, workerLifeMs } as const;
  const { admission, transport, token } = await openSecurity(security);
  const { spec: model, isDeterministic } = await tinyModelSettings();
  const hours = new ManualClock();
  const clock = clockWithHours(hours);
  const basics = { host, port: 0, model, isDeterministic, clock, observe: () => undefined };
  const fleet = new Fleet({ ...basics, admission, transport });
  const none = (): void => undefined;
  await fleet.open({ onWelcome: none, onMeasured: none, onMessage: none, onFrame: none, onLeft: none });
  open.push(fleet);
  return { fleet, token, hours };
}

interface Guest {
  readonly membership: CertificateMembership;
  readonly connection: Connection;
  readonly party: Party;
}

/** A worker that has joined, as far as its hello. */
async function join({ fleet, token }: Awaited<ReturnType<typeof start>>, name: string): Promise<Guest> {
  const orchestrator = { host, port: fleet.port };
  const joinToken = parseJoinToken(token);
  const none = { files: null, clock: systemClock, onUnkept: () => undefined };
  const membership = await CertificateMembership.open({ name, joinToken, ...none });
  await membership.enrol(orchestrator);
  const party = new Party();
  const connection = await membership.transport.dial({
    ...orchestrator,
    peer: { role: 'orchestrator' },
    handlers: party.handlers,
  });
  open.push(connection);
  connection.send(encodeControl({ kind: 'hello', token: null, worker: identityOf(name) }));
  await party.next('welcome');
  return { membership, connection, party };
}

const memberOf = (fleet: Fleet, workerId: string): string => fleet.workers.get(workerId)?.member?.id ?? '';

describe('the certificate of a worker that is here', () => {
  it('ends its stay when it ends', async () => {
    const cluster = await start();
    const { party } = await join(cluster, 'anna');
    cluster.hours.jump(workerLifeMs);
    expect((await party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('has expired') as string,
    });
  });

  it('is renewed under the same identity, and its stay goes on', async () => {
    const cluster = await start();
    const { membership, connection, party } = await join(cluster, 'anna');
    const before = memberOf(cluster.fleet, 'w1');
    expect(before).not.toBe('');
    for (let time = 1; time <= 3; time++) {
      cluster.hours.jump(workerLifeMs * 0.9);
      connection.send(encodeControl(membership.renewal()));
      await membership.renewed(await party.next('renewed'));
    }
    expect(memberOf(cluster.fleet, 'w1')).toBe(before);
    expect(connection.isOpen).toBe(true);
    cluster.hours.jump(workerLifeMs);
    expect((await party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('has expired') as string,
    });
  });

  it('is revoked for it alone: the others hear of it, also those that come later', async () => {
    const cluster = await start();
    const [anna, bert] = [await join(cluster, 'anna'), await join(cluster, 'bert')];
    const revoked = memberOf(cluster.fleet, 'w1');
    await cluster.fleet.revoke('w1');
    expect((await anna.party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('was revoked') as string,
    });
    expect(await bert.party.next('revoked')).toMatchObject({ members: [revoked] });
    const carl = await join(cluster, 'carl');
    expect(await carl.party.next('revoked')).toMatchObject({ members: [revoked] });
    expect(bert.connection.isOpen).toBe(true);
    await expect(cluster.fleet.revoke('w1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('cannot be renewed once it was revoked', async () => {
    const cluster = await start();
    const { membership, connection, party } = await join(cluster, 'anna');
    void cluster.fleet.revoke('w1');
    connection.send(encodeControl(membership.renewal()));
    expect((await party.closed).error).toMatchObject({ code: 'JOIN_REFUSED' });
  });
});
