// The library wants it to be there first.
import 'reflect-metadata';
import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const hourMs = 3_600_000;

/** PEM texts of a server on this machine, as an authority of others would make them: that authority, certificate and key. */
export async function makeServerCertificate(): Promise<{
  readonly authority: string;
  readonly certificate: string;
  readonly privateKey: string;
}> {
  cryptoProvider.set(webcrypto);
  const [above, own] = await Promise.all([
    webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']),
    webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']),
  ]);
  const dates = { notBefore: new Date(Date.now() - hourMs), notAfter: new Date(Date.now() + hourMs) };
  const authority = await X509CertificateGenerator.createSelfSigned({
    ...dates,
    serialNumber: randomBytes(8).toString('hex'),
    name: 'CN=Authority of a test',
    signingAlgorithm: algorithm,
    keys: above,
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  });
  const certificate = await X509CertificateGenerator.create({
    ...dates,
    serialNumber: randomBytes(8).toString('hex'),
    issuer: authority.subject,
    subject: 'CN=localhost',
    publicKey: own.publicKey,
    signingKey: above.privateKey,
    signingAlgorithm: algorithm,
    extensions: [
      new SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
      ]),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', own.privateKey);
  const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
  return {
    authority: authority.toString('pem'),
    certificate: certificate.toString('pem'),
    privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}
