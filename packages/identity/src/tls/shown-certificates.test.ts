import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ClusterAuthority } from '../authority/cluster-authority.js';
import { contextOf, tls13, type Credentials } from './credentials.js';
import { newKeys } from './keys.js';
import { shownCertificate, shownCertificates } from './shown-certificates.js';

const authority = await ClusterAuthority.passing();

async function member(): Promise<Credentials> {
  const { publicKey, privateKey } = newKeys();
  const { certificate } = await authority.issue(publicKey);
  return { authority: authority.certificate, certificate, privateKey };
}

const [server, client] = await Promise.all([member(), member()]);
const listener = createServer({ ...contextOf(server), requestCert: true, rejectUnauthorized: false });
const rawOf = (pem: string): Buffer => new X509Certificate(pem).raw;

beforeAll(async () => {
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
});
afterAll(() => {
  listener.close();
});

/** Both ends of a connection: of the server, and of a client that shows this. */
async function linked(shown: Credentials | null): Promise<readonly [TLSSocket, TLSSocket]> {
  const { port } = listener.address() as AddressInfo;
  const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const options = shown ? contextOf(shown) : { ...tls13, ca: authority.certificate };
  const near = connect({ host: '127.0.0.1', port, ...options, checkServerIdentity: () => undefined });
  near.on('error', () => undefined);
  const [far] = await accepted;
  far.on('error', () => undefined);
  if (!near.authorized) await once(near, 'secureConnect');
  return [far, near];
}

describe('what the other side shows', () => {
  it('is its certificate with that of the authority, on either side', async () => {
    const [far, near] = await linked(client);
    expect(shownCertificates(far)).toEqual([rawOf(client.certificate), rawOf(authority.certificate)]);
    expect(shownCertificates(near)).toEqual([rawOf(server.certificate), rawOf(authority.certificate)]);
    expect(shownCertificate(far)?.raw).toEqual(rawOf(client.certificate));
    far.destroy();
    near.destroy();
  });

  it('is nothing where no certificate is shown, or none any more', async () => {
    const [far, near] = await linked(null);
    expect([shownCertificates(far), shownCertificate(far)]).toEqual([[], null]);
    near.destroy();
    expect(shownCertificates(near)).toEqual([]);
    far.destroy();
  });
});
