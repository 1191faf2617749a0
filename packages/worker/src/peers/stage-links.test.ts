import { ButterflyError, limits, systemClock } from '@butterfly/common';
import {
  type Activations,
  type Connection,
  encodeActivations,
  encodeControl,
  encodeFrame,
  tcpTransport,
} from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DataDoor } from './data-door.js';
import { dialNext, IncomingLinks } from './stage-links.js';
import { PeerGuests } from './peer-guests.js';
import { PeerSecret } from './peer-secret.js';
import { Party } from '../testing/scripted-orchestrator.js';

const peerToken = 'of peers';
const linkToken = 'of the epoch';
const epoch = 3;
const zeros = new Uint8Array(limits.greetingBytesMax * 2);
const activations: Activations = {
  epoch,
  stepId: 1,
  stageTimes: [{ computeMicros: 1, hostMicros: 1 }],
  tokens: new Uint8Array(0),
  payload: zeros,
};

const usual = { transport: tcpTransport, clock: systemClock, observe: () => undefined };
let links: IncomingLinks;
let door: DataDoor;
const connections: Connection[] = [];
beforeEach(async () => {
  const secret = new PeerSecret();
  secret.change(peerToken);
  links = new IncomingLinks(systemClock);
  const parts = { ...usual, secret, links, guests: new PeerGuests() };
  door = await DataDoor.open({ host: '127.0.0.1', port: 0, ...parts });
});
afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
  await door.close();
});

/** The link of the epoch as the stage after it sees it. */
function expectLink() {
  let tellLost: (error: ButterflyError) => void = () => undefined;
  const lost = new Promise<ButterflyError>((resolve) => (tellLost = resolve));
  let take: (arrived: Activations) => void = () => undefined;
  const arrived = new Promise<Activations>((resolve) => (take = resolve));
  links.expect({
    epoch,
    linkToken,
    onStep: () => undefined,
    onActivations: (one) => take(one),
    onResult: () => undefined,
    onLost: (error) => tellLost(error),
  });
  return { lost, arrived };
}

/** Somebody who can reach the port. */
async function knock(parts: readonly Uint8Array[]): Promise<Party> {
  const party = new Party();
  const connection = await tcpTransport.dial({
    host: '127.0.0.1',
    port: door.port,
    handlers: party.handlers,
  });
  connections.push(connection);
  connection.send(parts);
  return party;
}

async function dialStage(options: { readonly linkToken?: string } = {}) {
  let tellLost: (error: ButterflyError) => void = () => undefined;
  const lost = new Promise<ButterflyError>((resolve) => (tellLost = resolve));
  const next = { kind: 'direct', workerId: 'w2', host: '127.0.0.1', port: door.port } as const;
  const network = { transport: tcpTransport, clock: systemClock };
  const proof = { epoch, peerToken, linkToken, fromStage: 0, ...options };
  const link = await dialNext({ next, ...proof, ...network, onLost: (error) => tellLost(error) });
  connections.push(link);
  return { link, lost };
}

const isLossBy = (code: string): unknown =>
  expect.objectContaining({
    code: 'CONNECTION_CLOSED',
    cause: expect.objectContaining({ code }) as unknown,
  });

describe('a link', () => {
  it('takes activations of any size once it is proved', async () => {
    const { arrived } = expectLink();
    const { link } = await dialStage();
    link.send(encodeActivations(activations));
    expect((await arrived).payload).toHaveLength(zeros.length);
  });

  it('that a flipped bit ends is lost to both sides, and no fault of either', async () => {
    const there = expectLink();
    const here = await dialStage();
    const damaged = Buffer.concat(encodeActivations(activations));
    damaged[100] = (damaged[100] ?? 0) ^ 1;
    here.link.send([damaged]);
    expect(await there.lost).toEqual(isLossBy('PROTOCOL_INVALID'));
    expect(await here.lost).toEqual(isLossBy('PROTOCOL_INVALID'));
  });

  it('that is refused is lost, and no fault of who dialled', async () => {
    expectLink();
    await expect(dialStage({ linkToken: 'a guess' })).rejects.toThrow(isLossBy('JOIN_REFUSED'));
  });

  it('says itself how it was lost where that is no fault of anybody', async () => {
    const there = expectLink();
    const { link } = await dialStage();
    link.destroy(new ButterflyError('CANCELLED', 'The plug is pulled.'));
    const { code, message } = await there.lost;
    expect(code).toBe('CONNECTION_CLOSED');
    expect(message).toContain('without a goodbye');
  });
});

describe('the door for other workers', () => {
  const linkOf = (token: string, fromStage = 0): Uint8Array[] =>
    encodeControl({ kind: 'link', peerToken: token, linkToken, epoch, fromStage });

  it('keeps no place for links of strangers, so that they cannot keep out the early link of a peer', async () => {
    const strangers = await Promise.all(Array.from({ length: 32 }, () => knock(linkOf('a guess'))));
    for (const stranger of strangers)
      expect(await stranger.closed).toMatchObject({
        code: 'JOIN_REFUSED',
        message: expect.stringContaining('peer token') as string,
      });
    const early = await knock(linkOf(peerToken));
    // Answered in the order of arrival, so that the early one is parked by then.
    await (
      await knock(linkOf('a guess'))
    ).closed;
    expectLink();
    expect(await early.next('linked')).toEqual({ kind: 'linked', epoch });
  });

  it('lets nobody in before it knows the secret', async () => {
    const parts = { ...usual, links, guests: new PeerGuests() };
    await door.close();
    door = await DataDoor.open({ host: '127.0.0.1', port: 0, secret: new PeerSecret(), ...parts });
    const party = await knock(linkOf(peerToken));
    expect(await party.closed).toMatchObject({ code: 'JOIN_REFUSED' });
  });

  it.each([
    ['a step', () => encodeFrame({ type: 'step', header: Buffer.from('h'), payload: Buffer.alloc(8) })],
    ['a large message', () => encodeFrame({ type: 'control', header: Buffer.alloc(100_000, ' ') })],
  ])('takes no %s of a stranger', async (_, frame) => {
    const party = await knock(frame());
    expect(await party.closed).toMatchObject({
      code: 'PROTOCOL_INVALID',
      message: expect.stringContaining('before its sender had proved itself') as string,
    });
  });

  it('takes no large frame of a link that was not answered yet', async () => {
    const party = await knock([...linkOf(peerToken), ...encodeActivations(activations)]);
    expect(await party.closed).toMatchObject({ code: 'PROTOCOL_INVALID' });
  });

  it('takes no large frame of a guest, who has nothing to send but questions', async () => {
    const greeting = encodeControl({ kind: 'peer', peerToken });
    const party = await knock([...greeting, ...encodeActivations(activations)]);
    await party.next('peerWelcome');
    expect(await party.closed).toMatchObject({ code: 'PROTOCOL_INVALID' });
  });
});
