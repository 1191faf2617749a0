import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { connect, createSecureContext } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openSecurity } from '@butterfly/identity';
import { Connection } from '@butterfly/wire';
import { expect, it } from 'vitest';
import { allocatedBytes } from './allocator.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const host = '127.0.0.1';

it('a member that joins and leaves again leaves no native memory behind', { timeout: 60_000 }, async () => {
  const { admission, transport, token } = await openSecurity({
    kind: 'certificates',
    directory: null,
    token: undefined,
  });
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const { certificate, authority } = await admission.enrol({ token, publicKey });
  let members = 0;
  const listener = await transport.listen({
    host,
    port: 0,
    onConnection: (stream) => {
      if (stream.identity) members++;
      void new Connection(stream, {
        handlers: { onFrame: () => undefined, onClose: () => undefined },
      }).close('seen enough');
    },
  });
  const secureContext = createSecureContext({ ca: authority, cert: certificate, key: privateKey });
  const visits = async (count: number): Promise<number> => {
    for (let i = 0; i < count; i++) {
      const { port } = listener;
      const socket = connect({ host, port, secureContext, checkServerIdentity: () => undefined });
      await once(socket.resume(), 'close');
    }
    for (let i = 0; i < 3; i++) {
      collect();
      await setImmediate();
    }
    return allocatedBytes();
  };
  const before = await visits(50);
  const grown = (await visits(150)) - before;
  await listener.close();
  expect(members).toBe(200);
  // 5 kB of each would be 750 kB.
  expect(grown).toBeLessThan(375_000);
});
