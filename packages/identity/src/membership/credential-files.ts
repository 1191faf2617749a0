import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '@butterfly/common';
import { z } from 'zod';
import { writePrivate } from '../private-files.js';
import { fingerprintOf } from '../tls/authority-of.js';
import type { Credentials } from '../tls/credentials.js';

const pem = z.string().min(1).max(limits.pemCharactersMax);
const schema = z.object({ authority: pem, certificate: pem, privateKey: pem });
const nameCharacters = 16;

/** Certificates of workers on this machine, for their next start: one file for each name of a worker and each cluster. */
export class CredentialFiles {
  constructor(private readonly directory: string) {}

  /** Of the cluster with this fingerprint, or where that is null, of the last one that this worker joined. Null where there are none. */
  async find(name: string, fingerprint: Buffer | null): Promise<Credentials | null> {
    if (fingerprint) return this.#read(this.#path(name, fingerprint));
    const prefix = `${digest(name)}-`;
    const names = (await readdir(this.directory).catch(() => [])).filter((each) => each.startsWith(prefix));
    const found: { readonly path: string; readonly changedMs: number }[] = [];
    for (const each of names) {
      const path = join(this.directory, each);
      const changed = await stat(path).catch(() => null);
      if (changed) found.push({ path, changedMs: changed.mtimeMs });
    }
    const [last] = found.sort((a, b) => b.changedMs - a.changedMs);
    return last ? this.#read(last.path) : null;
  }

  /** Readable by this user alone. @throws Error of the system */
  async keep(name: string, credentials: Credentials): Promise<void> {
    const path = this.#path(name, fingerprintOf(credentials.authority));
    await writePrivate(path, JSON.stringify(credentials));
  }

  /** Null for a file that is not there, or none of ours: then a new certificate is asked for. */
  async #read(path: string): Promise<Credentials | null> {
    try {
      return schema.parse(JSON.parse(await readFile(path, 'utf8')));
    } catch {
      return null;
    }
  }

  #path(name: string, fingerprint: Buffer): string {
    return join(
      this.directory,
      `${digest(name)}-${fingerprint.toString('hex').slice(0, nameCharacters)}.json`,
    );
  }
}

function digest(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, nameCharacters);
}
