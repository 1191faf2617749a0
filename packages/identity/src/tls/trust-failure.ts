import { ButterflyError } from '@butterfly/common';

/** What OpenSSL calls the ways in which a certificate does not hold, and what to do about them. */
const failures = new Map([
  [
    'CERT_HAS_EXPIRED',
    'its certificate has expired; check the clocks of both machines, and let it join again with a new token',
  ],
  ['CERT_NOT_YET_VALID', 'its certificate is not valid yet; check the clocks of both machines'],
  [
    'SELF_SIGNED_CERT_IN_CHAIN',
    'its certificate is of another cluster, or the orchestrator lost its data folder and made a new authority; join with a new token',
  ],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its certificate is of another cluster; join with a new token'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'its certificate is of another cluster; join with a new token'],
  ['CERT_SIGNATURE_FAILURE', 'its certificate is forged'],
  ['INVALID_PURPOSE', 'its certificate is for another purpose'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'its certificate was made by itself'],
]);

/** What the other side of a handshake tells when it speaks no TLS, or none that we do. */
const strangeCodes: ReadonlySet<string> = new Set([
  'EPROTO',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_UNSUPPORTED_PROTOCOL',
  'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
]);

/** A member that is not the one that is meant. */
export class DistrustError extends Error {
  readonly code = 'DISTRUSTED';
}

/** Why a certificate is not believed, after what OpenSSL calls it. */
export function trustFailure(code: string): string {
  return failures.get(code) ?? `its certificate does not hold (${code})`;
}

/** The error for a handshake that failed because of what the other side is; null where the network is to blame. */
export function trustError(to: string, code: string, cause: Error): ButterflyError | null {
  const reason = reasonOf(code, cause);
  return reason === null
    ? null
    : new ButterflyError('PEER_UNTRUSTED', `${to} is not trusted: ${reason}.`, { cause });
}

function reasonOf(code: string, cause: Error): string | null {
  if (cause instanceof DistrustError) return cause.message;
  if (failures.has(code)) return trustFailure(code);
  if (strangeCodes.has(code))
    return 'it does not speak TLS 1.3 as a cluster does; it is something else, or runs with --insecure';
  return null;
}
