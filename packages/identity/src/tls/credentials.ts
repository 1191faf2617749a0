import type { SecureContextOptions } from 'node:tls';

/** What proves a member: PEM texts. */
export interface Credentials {
  /** Certificate of the cluster's authority. */
  readonly authority: string;
  readonly certificate: string;
  readonly privateKey: string;
}

/** TLS 1.3 alone: there is no older peer to talk to. */
export const tls13: SecureContextOptions = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' };

/** The authority goes along with the certificate, so that who only knows its fingerprint can find it. */
export function contextOf({ authority, certificate, privateKey }: Credentials): SecureContextOptions {
  return { ...tls13, ca: authority, cert: certificate + authority, key: privateKey };
}
