import { z } from 'zod';
import { limits } from '@butterfly/common';
import { name, secret } from './fields.js';

const pem = z.string().min(1).max(limits.pemCharactersMax);

/** A stranger with a join token asks for a certificate: the first and only message over a link without one. */
export const enrol = z
  .object({
    kind: z.literal('enrol'),
    token: secret,
    /** SPKI in PEM, of P-256. */
    publicKey: pem,
  })
  .readonly();
export const enrolled = z
  .object({ kind: z.literal('enrolled'), certificate: pem, authority: pem })
  .readonly();

/** A worker asks for a new certificate before its own ends. */
export const renew = z.object({ kind: z.literal('renew'), publicKey: pem }).readonly();
export const renewed = z.object({ kind: z.literal('renewed'), certificate: pem, authority: pem }).readonly();

/** Workers that nobody is to talk to any more; all of them, each time. */
export const revoked = z
  .object({ kind: z.literal('revoked'), members: z.array(name).max(limits.revokedMax).readonly() })
  .readonly();
