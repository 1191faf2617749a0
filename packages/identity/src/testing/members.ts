import { ClusterAuthority } from '../authority/cluster-authority.js';
import { newKeys } from '../tls/keys.js';
import { TlsTransport } from '../tls/tls-transport.js';

/** A worker of a cluster: its id, and its links. */
export interface ClusterMember {
  readonly id: string;
  readonly transport: TlsTransport;
}

/** Workers of one cluster that nobody serves, with certificates of its authority. */
export async function makeMembers(count: number): Promise<readonly ClusterMember[]> {
  const authority = await ClusterAuthority.passing();
  return Promise.all(
    Array.from({ length: count }, async () => {
      const { publicKey, privateKey } = newKeys();
      const { certificate, identity } = await authority.issue(publicKey);
      const credentials = { authority: authority.certificate, certificate, privateKey };
      return { id: identity.id, transport: new TlsTransport({ credentials }) };
    }),
  );
}
