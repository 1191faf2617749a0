import { X509Certificate } from 'node:crypto';
import type { ExpectedPeer, PeerIdentity } from '@butterfly/wire';
import { identityIn } from '../peer-identity.js';
import { DistrustError } from './trust-failure.js';

const anyWorker: ExpectedPeer = { role: 'worker' };

/** Why a member whose certificate holds is not the one that is meant; null where it is. */
export function distrustOf(
  peer: PeerIdentity | null,
  { role, id }: ExpectedPeer = anyWorker,
  revoked: ReadonlySet<string> = new Set(),
): string | null {
  if (!peer) return 'its certificate is not one of a cluster';
  if (peer.role !== role) return `it is the ${peer.role} of the cluster, where the ${role} was expected`;
  if (id !== undefined && peer.id !== id) return 'it is another worker than the one that was named';
  return revoked.has(peer.id) ? 'its certificate was revoked' : null;
}

/** What takes the place of the check of a host's name, once a certificate is known to hold. */
export function checkOf(expected?: ExpectedPeer, revoked?: ReadonlySet<string>) {
  return (_host: string, { raw }: { readonly raw: Buffer }): Error | undefined => {
    const distrust = distrustOf(identityIn(new X509Certificate(raw)), expected, revoked);
    return distrust === null ? undefined : new DistrustError(distrust);
  };
}
