import { type Clock, systemClock, type WorkerEvent } from '@butterfly/common';
import { makeMembers } from '@butterfly/identity/testing';
import { type Connection, encodeControl, tcpTransport, type Transport } from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { Party } from '../testing/scripted-orchestrator.js';
import { DataDoor } from './data-door.js';
import { PeerGuests } from './peer-guests.js';
import { PeerSecret } from './peer-secret.js';
import { IncomingLinks } from './stage-links.js';

const host = '127.0.0.1';
const peerToken = 'the secret of peers';
/** Nobody is let in again by waiting. */
const stillClock: Clock = {
  nowMs: () => 0,
  after: (delayMs, callback) => systemClock.after(delayMs, callback),
};
const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

/** The door of a worker, and what it tells. */
async function openDoor(transport: Transport) {
  const secret = new PeerSecret();
  secret.change(peerToken);
  const events: WorkerEvent[] = [];
  const clock = stillClock;
  const door = await DataDoor.open({
    ...{ host, port: 0, transport, clock, secret },
    links: new IncomingLinks(clock),
    guests: new PeerGuests(),
    observe: (event) => events.push(event),
  });
  open.push(door);
  return { port: door.port, events };
}

async function enter(transport: Transport, port: number): Promise<{ party: Party; connection: Connection }> {
  const party = new Party();
  const connection = await transport.dial({ host, port, handlers: party.handlers });
  open.push(connection);
  connection.send(encodeControl({ kind: 'peer', peerToken }));
  return { party, connection };
}

describe('a peer that breaks the protocol at a worker', () => {
  it('is named and kept out where it is a member, and others are not', async () => {
    const [own, ann, bob] = await makeMembers(3);
    if (!own || !ann || !bob) throw new Error('There are three.');
    const { port, events } = await openDoor(own.transport);
    const { party, connection } = await enter(ann.transport, port);
    await party.next('peerWelcome');
    connection.send(encodeControl({ kind: 'ready', epoch: 1 }));
    expect(await party.closed).toMatchObject({ code: 'PROTOCOL_INVALID', retryAfterMs: 1_000 });
    const reason = 'A peer does not send "ready".';
    expect(events).toMatchObject([{ kind: 'protocolBroken', member: ann.id, reason, keptOutMs: 1_000 }]);
    const again = await enter(ann.transport, port);
    expect(await again.party.closed).toMatchObject({
      code: 'KEPT_OUT',
      message: expect.stringContaining(reason) as string,
    });
    await (await enter(bob.transport, port)).party.next('peerWelcome');
  });

  it('is cut off and named where nobody proves who they are, since its address may be that of others', async () => {
    const { port, events } = await openDoor(tcpTransport);
    for (let time = 0; time < 2; time++) {
      const { party, connection } = await enter(tcpTransport, port);
      await party.next('peerWelcome');
      connection.send(encodeControl({ kind: 'ready', epoch: 1 }));
      const error = await party.closed;
      expect([error?.code, error?.retryAfterMs]).toEqual(['PROTOCOL_INVALID', undefined]);
    }
    expect(events).toMatchObject([{ kind: 'protocolBroken', member: null, keptOutMs: 0 }]);
  });
});
