import { makeDirectory } from '@butterfly/common';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';

/**
 * Tells machines apart: the same for all workers of a host that keep their things in the same directory, however its
 * network changes. Where nothing can be kept, the addresses of its network cards have to do.
 */
export async function machineId(directory: string | null): Promise<string> {
  const own = directory === null ? null : await keptId(directory).catch(() => null);
  // Hosts may share the directory over the network.
  return createHash('sha256')
    .update([hostname(), ...(own === null ? cardAddresses() : [own])].join())
    .digest('hex')
    .slice(0, 16);
}

/** Whoever comes first makes it up for all. */
async function keptId(directory: string): Promise<string> {
  const path = join(directory, 'machine-id');
  const known = await readFile(path, 'utf8').catch(() => null);
  if (known !== null) return known;
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await makeDirectory(directory);
    await writeFile(temporary, randomUUID(), { flush: true });
    // Unlike a rename, this leaves alone what another one has put there meanwhile.
    await link(temporary, path).catch(() => undefined);
  } finally {
    await rm(temporary, { force: true });
  }
  return readFile(path, 'utf8');
}

function cardAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => (list ?? []).map(({ mac }) => mac))
    .sort();
}
