import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ButterflyError, limits, makeDirectory, parseConfig } from '@butterfly/common';
import { z } from 'zod';
import { type JoinToken, newJoinToken } from '../join-token.js';
import {
  checkRoom,
  checkToken,
  isGood,
  type JoinTokens,
  type ListedToken,
  recordOf,
  refusal,
  type TokenRecord,
  type TokenWishes,
} from './join-tokens.js';

const schema = z.object({
  id: z.string().regex(/^[0-9a-f]{12}$/u),
  digest: z.string().regex(/^[0-9a-f]{64}$/u),
  createdAtMs: z.number(),
  expiresAtMs: z.number().nullable(),
  usesMax: z.int().min(1).max(limits.joinTokenUsesMax).nullable(),
  note: z.string().max(256),
});

/**
 * Tokens kept in a folder, one file each, so that the command line may make and revoke them while orchestrators use them: a
 * revoked one is a file that is gone, and a use is a file that only one process can make.
 */
export class TokenFiles implements JoinTokens {
  constructor(
    private readonly directory: string,
    private readonly fingerprint: Buffer,
  ) {}

  async create(wishes: TokenWishes): Promise<JoinToken> {
    checkRoom((await this.#ids()).length);
    const token = newJoinToken(this.fingerprint);
    const record = parseConfig(schema, recordOf(token, wishes, Date.now()), 'join token');
    await makeDirectory(this.directory);
    await writeFile(this.#path(token.id), JSON.stringify(record), { mode: 0o600, flag: 'wx' });
    return token;
  }

  async list(): Promise<readonly ListedToken[]> {
    const listed: ListedToken[] = [];
    for (const id of await this.#ids()) {
      const record = await this.#read(id);
      if (record) listed.push({ ...record, uses: (await this.#usesOf(id)).length });
    }
    return listed.sort((a, b) => a.createdAtMs - b.createdAtMs);
  }

  async revoke(id: string): Promise<boolean> {
    if (!(await this.#ids()).includes(id)) return false;
    await rm(this.#path(id), { force: true });
    for (const use of await this.#usesOf(id)) await rm(join(this.directory, use), { force: true });
    return true;
  }

  async spend(token: JoinToken): Promise<void> {
    const { id, usesMax } = checkToken(await this.#read(token.id), token, Date.now());
    if (usesMax === null) return;
    for (let use = 1; use <= usesMax; use++)
      if (await this.#take(join(this.directory, `${id}.use-${use}`))) return;
    throw refusal('was used as often as it may be');
  }

  async holds(token: JoinToken): Promise<boolean> {
    return isGood(await this.#read(token.id), token);
  }

  /** Whether nobody has taken it before. */
  async #take(path: string): Promise<boolean> {
    try {
      await writeFile(path, '', { mode: 0o600, flag: 'wx' });
      return true;
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      throw new ButterflyError(
        'JOIN_REFUSED',
        'The orchestrator cannot note that the join token is used; see its log.',
        {
          cause: error,
        },
      );
    }
  }

  async #read(id: string): Promise<TokenRecord | null> {
    const text = await readFile(this.#path(id), 'utf8').catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return null;
      throw error;
    });
    return text === null ? null : parseConfig(schema, JSON.parse(text), `join token ${id}`);
  }

  async #ids(): Promise<readonly string[]> {
    return (await this.#names()).flatMap((name) => /^([0-9a-f]{12})\.json$/u.exec(name)?.[1] ?? []);
  }

  async #usesOf(id: string): Promise<readonly string[]> {
    return (await this.#names()).filter((name) => name.startsWith(`${id}.use-`));
  }

  async #names(): Promise<readonly string[]> {
    return readdir(this.directory).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    });
  }

  #path(id: string): string {
    return join(this.directory, `${id}.json`);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}
