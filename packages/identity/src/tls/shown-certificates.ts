import { X509Certificate } from 'node:crypto';
import type { PeerCertificate, TLSSocket } from 'node:tls';

/** Certificates one above the other: real ones are three or four. */
const chainMax = 8;

/**
 * What the other side shows, as DER: its certificate, and those above it that came along; none where it shows none.
 * `getPeerX509Certificate` does the same, but in Node 20 it leaves 5 kB of each connection
 * behind for ever (`chaos/src/leaks/peer-certificates.test.ts`).
 */
export function shownCertificates(socket: TLSSocket): readonly Buffer[] {
  const chain: Buffer[] = [];
  // Null, whatever the types say, of a socket that is destroyed; without any property where nothing is shown.
  let link = socket.getPeerCertificate(true) as Partial<PeerCertificate & Issued> | null | undefined;
  while (link?.raw && chain.length < chainMax) {
    chain.push(link.raw);
    // The topmost one is its own.
    link = link.issuerCertificate === link ? null : link.issuerCertificate;
  }
  return chain;
}

interface Issued {
  readonly issuerCertificate?: Partial<PeerCertificate & Issued>;
}

/** The certificate of the other side; null where it shows none. */
export function shownCertificate(socket: TLSSocket): X509Certificate | null {
  const shown = socket.getPeerCertificate(false) as Partial<PeerCertificate> | null | undefined;
  return shown?.raw ? new X509Certificate(shown.raw) : null;
}
