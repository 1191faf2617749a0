import { createHash, webcrypto } from 'node:crypto';

/** Up to here the way to the thread pool and back takes longer than the hash. */
const smallBytes = 64 * 1024;

/** The SHA-256 of some bytes, 32 bytes; many are computed in the thread pool, because they would hold up the event loop. */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  if (bytes.length <= smallBytes) return new Uint8Array(createHash('sha256').update(bytes).digest());
  return new Uint8Array(await webcrypto.subtle.digest('SHA-256', bytes));
}
