import { createHash, X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import { type Address, ButterflyError, type Clock, formatAddress } from '@butterfly/common';
import { type Connection, type DialOptions, dialOver } from '@butterfly/wire';
import { checkOf } from './check.js';
import { tls13 } from './credentials.js';
import { shownCertificates } from './shown-certificates.js';
import { trustError } from './trust-failure.js';

/**
 * The certificate, in PEM, of the authority with this fingerprint, which whoever listens there shows beside its own. Nothing
 * is said to them, and nothing of what they show is believed but what has that fingerprint.
 * @param fingerprint SHA-256 of the certificate
 * @throws ButterflyError PEER_UNREACHABLE; PEER_UNTRUSTED where there is no such certificate
 */
export async function authorityOf(address: Address, fingerprint: Buffer, clock: Clock): Promise<string> {
  let shown: readonly Buffer[] = [];
  const open = ({ host, port }: Address): TLSSocket => {
    // Whether that certificate holds is found out by the next dial, which knows the authority.
    const socket = connect({ host, port, ...tls13, rejectUnauthorized: false });
    socket.on('secureConnect', () => (shown = shownCertificates(socket)));
    return socket;
  };
  const handlers = { onFrame: () => undefined, onClose: () => undefined };
  const connection = await dialOver({ ...address, clock, handlers }, open, tlsOpening);
  connection.destroy(new ButterflyError('CONNECTION_CLOSED', 'Its certificate is known now.'));
  const authority = shown.find((raw) => sha256Of(raw).equals(fingerprint));
  if (authority) return new X509Certificate(authority).toString();
  throw new ButterflyError(
    'PEER_UNTRUSTED',
    `${formatAddress(address)} is not the orchestrator that made this join token: its authority is another one. Check the address, or take a token of that cluster.`,
  );
}

/** Dials the orchestrator of this authority without a certificate. @throws ButterflyError PEER_UNREACHABLE, PEER_UNTRUSTED */
export function dialAsStranger(authority: string, options: DialOptions): Promise<Connection> {
  const checkServerIdentity = checkOf({ role: 'orchestrator' });
  const open = ({ host, port }: Address): TLSSocket =>
    connect({ host, port, ...tls13, ca: authority, checkServerIdentity });
  return dialOver(options, open, tlsOpening);
}

/** SHA-256 of a certificate in PEM. */
export function fingerprintOf(certificate: string): Buffer {
  return sha256Of(new X509Certificate(certificate).raw);
}

const tlsOpening = { openedOn: 'secureConnect', failureOf: trustError } as const;

function sha256Of(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
