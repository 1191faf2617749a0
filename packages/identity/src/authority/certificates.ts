// The library wants it to be there first.
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  X509Certificate,
  X509CertificateGenerator,
  cryptoProvider,
} from '@peculiar/x509';
import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import type { PeerIdentity } from '@butterfly/wire';
import { subjectOf } from '../peer-identity.js';

/** Signatures that every TLS 1.3 has, and that take a fraction of a millisecond. */
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Clocks of machines at home may be behind. */
const backdatedMs = 24 * 3_600_000;
const serialBytes = 16;

cryptoProvider.set(webcrypto);

/** A key of an authority and its certificate, as PEM texts. */
export interface AuthorityFiles {
  readonly certificate: string;
  readonly privateKey: string;
}

/** A new key with a certificate that signs itself, and members below it only. */
export async function makeAuthority(name: string, nowMs: number, lifeMs: number): Promise<AuthorityFiles> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...validity(nowMs, lifeMs),
    name: `CN=${name}, OU=authority, O=Butterfly`,
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
  return {
    certificate: pem(certificate.toString('pem')),
    privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

/** Signs certificates in the name of one authority. */
export class Signer {
  private constructor(
    private readonly issuer: string,
    private readonly key: webcrypto.CryptoKey,
  ) {}

  static async open({ certificate, privateKey }: AuthorityFiles): Promise<Signer> {
    const pkcs8 = createPrivateKey(privateKey).export({ format: 'der', type: 'pkcs8' });
    const key = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']);
    return new Signer(new X509Certificate(certificate).subject, key);
  }

  /**
   * A certificate in PEM for whoever holds the private key.
   * @param publicKey SPKI in PEM
   */
  async sign(
    member: Pick<PeerIdentity, 'role' | 'id'>,
    publicKey: string,
    nowMs: number,
    lifeMs: number,
  ): Promise<string> {
    // Workers dial and are dialled; an orchestrator is dialled only.
    const usages =
      member.role === 'worker'
        ? [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]
        : [ExtendedKeyUsage.serverAuth];
    const certificate = await X509CertificateGenerator.create({
      ...validity(nowMs, lifeMs),
      issuer: this.issuer,
      subject: subjectOf(member),
      publicKey: new PublicKey(publicKey),
      signingKey: this.key,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(usages, true),
      ],
    });
    return pem(certificate.toString('pem'));
  }
}

function validity(nowMs: number, lifeMs: number): { serialNumber: string; notBefore: Date; notAfter: Date } {
  return {
    serialNumber: randomBytes(serialBytes).toString('hex'),
    notBefore: new Date(nowMs - backdatedMs),
    notAfter: new Date(nowMs + lifeMs),
  };
}

/** With an end of line, so that texts may be put one behind the other. */
function pem(text: string): string {
  return `${text.trim()}\n`;
}
