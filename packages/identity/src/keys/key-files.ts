import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { ButterflyError, limits } from '@butterfly/common';
import { z } from 'zod';
import { recordDigest, RecordFiles, recordId } from '../record-files.js';
import { type ApiKey, newApiKey } from './api-key.js';

/** What one key may have; null for as much as there is. */
export interface KeyLimits {
  readonly requestsPerMinute: number | null;
  /** Of prompts and answers together. */
  readonly tokensPerMinute: number | null;
  /** Requests at once. */
  readonly concurrent: number | null;
  /** By their ids. */
  readonly models: readonly string[] | null;
  /** No request of it is more urgent: the lower, the earlier. */
  readonly priorityMax: number;
}

/** What is known of a key, by which nobody can ask. */
export interface KeyRecord {
  readonly id: string;
  /** SHA-256 of its secret, in hexadecimal. */
  readonly digest: string;
  /** By the clock of the system. */
  readonly createdAtMs: number;
  /** Null for one that never ends. */
  readonly expiresAtMs: number | null;
  readonly note: string;
  /** Whether it opens what administrates the cluster too. */
  readonly isAdmin: boolean;
  readonly limits: KeyLimits;
}

export interface KeyWishes {
  /** How long it is good for; null for ever. */
  readonly lifeMs: number | null;
  readonly note: string;
  readonly isAdmin: boolean;
  readonly limits: KeyLimits;
}

const rate = z.int().min(1).max(limits.ratePerMinuteMax).nullable();
const schema: z.ZodType<KeyRecord> = z.object({
  id: recordId,
  digest: recordDigest,
  createdAtMs: z.number(),
  expiresAtMs: z.number().nullable(),
  note: z.string().max(256),
  isAdmin: z.boolean(),
  limits: z.object({
    requestsPerMinute: rate,
    tokensPerMinute: rate,
    concurrent: rate,
    models: z.array(z.string().max(limits.modelIdCharactersMax)).max(limits.apiKeyModelsMax).nullable(),
    priorityMax: z.int().min(-limits.priorityMax).max(limits.priorityMax),
  }),
});

/** Where the keys of a user are kept within its data folder. */
export function keysDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'keys');
}

/**
 * Keys kept in a folder, one file each, so that the command line may make and revoke them while servers use them: a revoked
 * one is a file that is gone.
 */
export class KeyFiles {
  readonly #files: RecordFiles<KeyRecord>;

  constructor(directory: string) {
    this.#files = new RecordFiles(directory, schema, 'API key');
  }

  /** @throws ButterflyError CONFIG_INVALID for limits that are none, or when there are too many keys */
  async create({ lifeMs, ...wishes }: KeyWishes): Promise<ApiKey> {
    if ((await this.#files.ids()).length >= limits.apiKeysMax)
      throw new ButterflyError(
        'CONFIG_INVALID',
        `There are ${limits.apiKeysMax} API keys already; revoke some with "butterfly key revoke".`,
      );
    const key = newApiKey();
    const createdAtMs = Date.now();
    const expiresAtMs = lifeMs === null ? null : createdAtMs + lifeMs;
    await this.#files.add({ id: key.id, digest: digestOf(key), createdAtMs, expiresAtMs, ...wishes });
    return key;
  }

  /** Oldest first, those that have expired too. */
  async list(): Promise<readonly KeyRecord[]> {
    const listed: KeyRecord[] = [];
    for (const id of await this.#files.ids()) {
      const record = await this.#files.read(id);
      if (record) listed.push(record);
    }
    return listed.sort((a, b) => a.createdAtMs - b.createdAtMs);
  }

  /** Null where there is none with this id, or no more. */
  read(id: string): Promise<KeyRecord | null> {
    return this.#files.read(id);
  }

  /** Whether there was such a key. What was asked with it before goes on. */
  async revoke(id: string): Promise<boolean> {
    if (!(await this.#files.ids()).includes(id)) return false;
    await this.#files.remove(id);
    return true;
  }
}

/** Of the secret of a key, in hexadecimal. It is random enough that no slow hash is needed. */
export function digestOf({ secret }: ApiKey): string {
  return createHash('sha256').update(secret).digest('hex');
}
