import { openSecurity, parseJoinToken } from '@butterfly/identity';
import { limits } from '@butterfly/common';
import type { FuzzTarget } from '../engine/target.js';

/** A join token, as somebody typed it or a stranger sent it. */
export const token: FuzzTarget = {
  name: 'token',
  inputBytesMax: limits.joinTokenCharactersMax,
  words: ['bf1-', '-', '_', '=', '+', '/', ' '],
  run: (input) => void parseJoinToken(Buffer.from(input).toString()),
};

const member = { role: 'worker', id: 'worker-0', expiresAtMs: 0 } as const;
let opening: ReturnType<typeof openSecurity> | null = null;

/** The public key for which a worker wants a certificate: PEM of a stranger. */
export const key: FuzzTarget = {
  name: 'key',
  inputBytesMax: 2048,
  words: [
    '-----BEGIN PUBLIC KEY-----',
    '-----END PUBLIC KEY-----',
    '\n',
    'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE',
    '=',
  ],
  async run(input) {
    opening ??= openSecurity({ kind: 'certificates', directory: null, token: undefined });
    const { admission } = await opening;
    await admission.renew(member, Buffer.from(input).toString());
  },
};
