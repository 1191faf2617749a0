import type { X509Certificate } from 'node:crypto';
import type { PeerIdentity } from '@butterfly/wire';

/** What certificates of a cluster may be for. */
export const roles = ['orchestrator', 'worker'] as const;

const idPattern = /^[\w-]{1,64}$/u;

/** The name that an authority writes into a certificate. */
export function subjectOf({ role, id }: Pick<PeerIdentity, 'role' | 'id'>): string {
  return `CN=${id}, OU=${role}, O=Butterfly`;
}

/** Who a certificate says its holder is; null for one that no authority of a cluster makes. Whether it holds is not looked at. */
export function identityIn(certificate: X509Certificate): PeerIdentity | null {
  // One line for each part of the name.
  const parts = new Map(certificate.subject.split('\n').map((line) => splitOnce(line)));
  const role = roles.find((known) => known === parts.get('OU'));
  const id = parts.get('CN');
  if (parts.get('O') !== 'Butterfly' || role === undefined || id === undefined || !idPattern.test(id))
    return null;
  return { role, id, expiresAtMs: Date.parse(certificate.validTo) };
}

function splitOnce(line: string): [string, string] {
  const at = line.indexOf('=');
  return [line.slice(0, at), line.slice(at + 1)];
}
