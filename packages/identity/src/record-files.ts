import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory, parseConfig } from '@butterfly/common';
import { z } from 'zod';

/** By which a record is listed and revoked: 12 hexadecimal digits, and no secret. */
export const recordId = z.string().regex(/^[0-9a-f]{12}$/u);

/** SHA-256 of what only its holder knows, in hexadecimal. */
export const recordDigest = z.string().regex(/^[0-9a-f]{64}$/u);

/** Records in a folder, one file each and readable by this user alone, which several processes may use at once. */
export class RecordFiles<T extends { readonly id: string }> {
  /** @param what a record is, for the words of errors */
  constructor(
    readonly directory: string,
    private readonly schema: z.ZodType<T>,
    private readonly what: string,
  ) {}

  /** @throws ButterflyError CONFIG_INVALID for a record that is none; Error of the system */
  async add(record: T): Promise<void> {
    const checked = parseConfig(this.schema, record, this.what);
    await makeDirectory(this.directory);
    await writeFile(this.#path(checked.id), JSON.stringify(checked), { mode: 0o600, flag: 'wx' });
  }

  /** Null where there is none with this id. @throws ButterflyError CONFIG_INVALID for a damaged one; Error of the system */
  async read(id: string): Promise<T | null> {
    const text = await readFile(this.#path(id), 'utf8').catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return null;
      throw error;
    });
    return text === null ? null : parseConfig(this.schema, JSON.parse(text), `${this.what} ${id}`);
  }

  async remove(id: string): Promise<void> {
    await rm(this.#path(id), { force: true });
  }

  async ids(): Promise<readonly string[]> {
    return (await this.names()).flatMap((name) => /^([0-9a-f]{12})\.json$/u.exec(name)?.[1] ?? []);
  }

  /** Of all files, those of others included. */
  async names(): Promise<readonly string[]> {
    return readdir(this.directory).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    });
  }

  #path(id: string): string {
    return join(this.directory, `${id}.json`);
  }
}

/** What the system calls an error; null for one that is not the system's. */
export function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}
