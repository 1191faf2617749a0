import { systemClock } from '@butterfly/common';
import { CertificateMembership, openSecurity, parseJoinToken } from '@butterfly/identity';
import { type Connection, encodeControl } from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { identityOf, Party } from '../testing/cluster.js';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { Fleet } from './fleet.js';

const host = '127.0.0.1';
const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

/** A fleet whose workers join over TLS, with certificates that hold as long as they say. */
async function start(workerLifeMs?: number) {
  const { admission, transport, token } = await openSecurity({
    kind: 'certificates',
    directory: null,
    token: undefined,
    ...(workerLifeMs === undefined ? {} : { workerLifeMs }),
  });
  const { spec: model, isDeterministic } = await tinyModelSettings();
  const basics = { host, port: 0, model, isDeterministic, clock: systemClock, observe: () => undefined };
  const fleet = new Fleet({ ...basics, admission, transport });
  const none = (): void => undefined;
  await fleet.open({ onWelcome: none, onMeasured: none, onMessage: none, onFrame: none, onLeft: none });
  open.push(fleet);
  return { fleet, token };
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
    const { party } = await join(await start(1_000), 'anna');
    expect((await party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('has expired') as string,
    });
  });

  it('is renewed under the same identity, and its stay goes on', async () => {
    const cluster = await start(1_500);
    const { membership, connection, party } = await join(cluster, 'anna');
    const before = cluster.fleet.workers.get('w1')?.member;
    for (let time = 1; time <= 3; time++) {
      await new Promise((resolve) => setTimeout(resolve, 700));
      connection.send(encodeControl(membership.renewal()));
      await membership.renewed(await party.next('renewed'));
    }
    const after = cluster.fleet.workers.get('w1')?.member;
    expect(after?.id).toBe(before?.id);
    expect(after?.expiresAtMs).toBeGreaterThan((before?.expiresAtMs ?? Infinity) + 500);
    expect(connection.isOpen).toBe(true);
    expect((await party.closed).error).toMatchObject({ code: 'JOIN_REFUSED' });
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
