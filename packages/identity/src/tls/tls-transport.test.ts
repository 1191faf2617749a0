import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { limits, systemClock } from '@butterfly/common';
import {
  Connection,
  type ConnectionHandlers,
  type IncomingStream,
  type Listener,
  tcpTransport,
} from '@butterfly/wire';
import { describeTransport } from '@butterfly/wire/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { ClusterAuthority } from '../authority/cluster-authority.js';
import { authorityOf } from './authority-of.js';
import type { Credentials } from './credentials.js';
import { newKeys } from './keys.js';
import { TlsTransport } from './tls-transport.js';

const host = '127.0.0.1';
const authority = await ClusterAuthority.passing();
const stranger = await ClusterAuthority.passing();

async function worker(of = authority): Promise<Credentials & { readonly id: string }> {
  const { publicKey, privateKey } = newKeys();
  const { certificate, identity } = await of.issue(publicKey);
  return { authority: of.certificate, certificate, privateKey, id: identity.id };
}

const [ann, bob, eve] = await Promise.all([worker(), worker(), worker(stranger)]);

describeTransport('TLS', () => ({
  near: new TlsTransport({ credentials: ann }),
  far: new TlsTransport({ credentials: bob }),
  host,
  strangeHost: 'no-such-host.invalid',
  strangeAddress: '192.0.2.1',
  settle: (promise) => promise,
  own: (stream, handlers) => new Connection(stream, { handlers }),
}));

const containing = (words: string): string => expect.stringContaining(words) as string;
const idle: ConnectionHandlers = { onFrame: () => undefined, onClose: () => undefined };
const listeners: Listener[] = [];
afterEach(async () => {
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
});

async function listening(
  transport: TlsTransport | typeof tcpTransport,
): Promise<{ port: number; came: IncomingStream[] }> {
  const came: IncomingStream[] = [];
  const listener = await transport.listen({
    host,
    port: 0,
    onConnection: (stream) => {
      came.push(stream);
      new Connection(stream, { handlers: idle });
    },
  });
  listeners.push(listener);
  return { port: listener.port, came };
}

/** Why the other side ends a connection. */
function ended(port: number, transport: TlsTransport): Promise<string> {
  return new Promise((resolve, reject) => {
    const handlers = { ...idle, onClose: (error: Error | null) => resolve(String(error?.message)) };
    transport.dial({ host, port, handlers }).catch(reject);
  });
}

describe('a TLS transport', () => {
  it('knows who comes in, and who was dialled', async () => {
    const { port, came } = await listening(new TlsTransport({ credentials: bob }));
    const near = new TlsTransport({ credentials: ann });
    await near.dial({ host, port, peer: { role: 'worker', id: bob.id }, handlers: idle });
    await expect.poll(() => came).toMatchObject([{ identity: { role: 'worker', id: ann.id } }]);
  });

  it('dials nobody but the one that is meant', async () => {
    const { port } = await listening(new TlsTransport({ credentials: bob }));
    const near = new TlsTransport({ credentials: ann });
    await expect(
      near.dial({ host, port, peer: { role: 'worker', id: ann.id }, handlers: idle }),
    ).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
      message: containing('another worker than the one that was named'),
    });
    await expect(
      near.dial({ host, port, peer: { role: 'orchestrator' }, handlers: idle }),
    ).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
      message: containing('it is the worker of the cluster, where the orchestrator was expected'),
    });
  });

  it('lets in nobody of another cluster, and dials none', async () => {
    const { port, came } = await listening(new TlsTransport({ credentials: bob }));
    await expect(ended(port, new TlsTransport({ credentials: eve }))).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
    });
    // One that does not look at whom it dials is still not let in.
    const careless = connectTls({
      host,
      port,
      rejectUnauthorized: false,
      cert: eve.certificate,
      key: eve.privateKey,
    });
    await closing(careless);
    // Nor is one who shows nothing, or says that an orchestrator's certificate is a worker's.
    for (const shown of [{}, toShow(await authority.orchestratorCredentials())]) {
      const nobody = connectTls({ host, port, rejectUnauthorized: false, ...shown });
      await closing(nobody);
    }
    expect(came).toEqual([]);
  });

  it('does not speak to plain peers, nor in older versions', async () => {
    const { port, came } = await listening(new TlsTransport({ credentials: bob }));
    const plain = connectPlain({ host, port });
    plain.end('BFLY');
    plain.resume();
    await closing(plain);
    const old = connectTls({ host, port, maxVersion: 'TLSv1.2', rejectUnauthorized: false, ...toShow(ann) });
    const [error] = (await once(old, 'error')) as [Error];
    expect(error.message).toMatch(/protocol version/u);
    expect(came).toEqual([]);
    const { port: plainPort } = await listening(tcpTransport);
    const near = new TlsTransport({ credentials: ann });
    await expect(
      near.dial({ host, port: plainPort, timeoutMs: 2_000, handlers: idle }),
    ).rejects.toMatchObject({
      code: expect.stringMatching(/^PEER_/u) as string,
    });
  });

  it('cuts whoever is revoked, both ways, and takes neither again', async () => {
    const far = new TlsTransport({ credentials: bob });
    const { port, came } = await listening(far);
    const near = new TlsTransport({ credentials: ann });
    const cut = ended(port, near);
    await expect.poll(() => came).toHaveLength(1);
    far.revoke([ann.id]);
    expect(await cut).toMatch(/closed the connection without a goodbye/u);
    expect(await ended(port, near)).toMatch(/closed the connection without a goodbye/u);
    expect(came).toHaveLength(1);
    near.revoke([bob.id]);
    await expect(near.dial({ host, port, handlers: idle })).rejects.toThrow(/its certificate was revoked/u);
  });

  it('tells one whose certificate has expired so, where strangers may ask for one', async () => {
    const short = await ClusterAuthority.passing({ workerLifeMs: -1000 });
    const late = await worker(short);
    const door = new TlsTransport({
      credentials: await short.orchestratorCredentials(),
      admitsStrangers: true,
    });
    const { port, came } = await listening(door);
    const near = new TlsTransport({ credentials: late });
    await near.dial({ host, port, peer: { role: 'orchestrator' }, handlers: idle });
    await expect.poll(() => came).toMatchObject([{ identity: null, distrust: containing('has expired') }]);
  });

  it('holds few doors open for those who say nothing, and lets others in beside them', async () => {
    const { port, came } = await listening(new TlsTransport({ credentials: bob }));
    const silent = Array.from({ length: 1000 }, () =>
      connectPlain({ host, port, localAddress: '127.0.0.2' }),
    );
    for (const socket of silent) socket.on('error', () => undefined);
    const open = (): number => silent.filter((socket) => !socket.closed && !socket.connecting).length;
    await expect.poll(open, { timeout: 5_000 }).toBe(limits.halfOpenPerAddressMax);
    await new TlsTransport({ credentials: ann }).dial({ host, port, handlers: idle });
    await expect.poll(() => came).toHaveLength(1);
    for (const socket of silent) socket.destroy();
  });

  it('counts strangers among them for as long as they stay', async () => {
    const door = new TlsTransport({
      credentials: await authority.orchestratorCredentials(),
      admitsStrangers: true,
    });
    const { port, came } = await listening(door);
    const strangers = Array.from({ length: 80 }, () =>
      connectTls({
        socket: connectPlain({ host, port, localAddress: '127.0.0.2' }),
        rejectUnauthorized: false,
      }),
    );
    for (const socket of strangers) socket.on('error', () => undefined);
    await expect.poll(() => came.length, { timeout: 5_000 }).toBe(limits.halfOpenPerAddressMax);
    await expect.poll(() => strangers.filter(({ closed }) => closed).length).toBe(80 - came.length);
    await new TlsTransport({ credentials: ann }).dial({
      host,
      port,
      peer: { role: 'orchestrator' },
      handlers: idle,
    });
    await expect.poll(() => came.at(-1)).toMatchObject({ identity: { id: ann.id } });
    for (const socket of strangers) socket.destroy();
  });

  it('finds the authority by its fingerprint, and no other', async () => {
    const door = new TlsTransport({
      credentials: await authority.orchestratorCredentials(),
      admitsStrangers: true,
    });
    const { port } = await listening(door);
    expect(await authorityOf({ host, port }, authority.fingerprint, systemClock)).toBe(authority.certificate);
    await expect(authorityOf({ host, port }, stranger.fingerprint, systemClock)).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
      message: containing('not the orchestrator that made this join token'),
    });
  });
});

function closing(socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  return new Promise((resolve) => socket.on('close', () => resolve()));
}

function toShow({ certificate, privateKey }: Credentials): { cert: string; key: string } {
  return { cert: certificate, key: privateKey };
}
