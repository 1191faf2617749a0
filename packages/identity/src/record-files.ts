import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ButterflyError, parseConfig } from '@butterfly/common';
import { z } from 'zod';
import { namesIn, readIfThere, writeNewPrivate } from './private-files.js';

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
    await writeNewPrivate(this.#path(checked.id), JSON.stringify(checked));
  }

  /** Null where there is none with this id. @throws ButterflyError CONFIG_INVALID for a damaged one; Error of the system */
  async read(id: string): Promise<T | null> {
    const path = this.#path(id);
    const text = await readIfThere(path);
    if (text === null) return null;
    try {
      return parseConfig(this.schema, JSON.parse(text), `${this.what} ${id}`);
    } catch (cause) {
      throw new ButterflyError(
        'CONFIG_INVALID',
        `The file of ${this.what} ${id} is damaged; remove ${path} and make another one.`,
        { cause },
      );
    }
  }

  async remove(id: string): Promise<void> {
    await rm(this.#path(id), { force: true });
  }

  async ids(): Promise<readonly string[]> {
    return (await this.names()).flatMap((name) => /^([0-9a-f]{12})\.json$/u.exec(name)?.[1] ?? []);
  }

  /** Of all files, those of others included. */
  names(): Promise<readonly string[]> {
    return namesIn(this.directory);
  }

  #path(id: string): string {
    return join(this.directory, `${id}.json`);
  }
}
