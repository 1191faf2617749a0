import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ButterflyError, limits } from '@butterfly/common';
import { z } from 'zod';
import { type JoinToken, newJoinToken } from '../join-token.js';
import { writeNewPrivate } from '../private-files.js';
import { recordDigest, RecordFiles, recordId } from '../record-files.js';
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
  id: recordId,
  digest: recordDigest,
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
  readonly #files: RecordFiles<TokenRecord>;

  constructor(
    private readonly directory: string,
    private readonly fingerprint: Buffer,
  ) {
    this.#files = new RecordFiles(directory, schema, 'join token');
  }

  async create(wishes: TokenWishes): Promise<JoinToken> {
    checkRoom((await this.#files.ids()).length);
    const token = newJoinToken(this.fingerprint);
    await this.#files.add(recordOf(token, wishes, Date.now()));
    return token;
  }

  async list(): Promise<readonly ListedToken[]> {
    const listed: ListedToken[] = [];
    for (const id of await this.#files.ids()) {
      const record = await this.#files.read(id);
      if (record) listed.push({ ...record, uses: (await this.#usesOf(id)).length });
    }
    return listed.sort((a, b) => a.createdAtMs - b.createdAtMs);
  }

  async revoke(id: string): Promise<boolean> {
    if (!(await this.#files.ids()).includes(id)) return false;
    await this.#files.remove(id);
    for (const use of await this.#usesOf(id)) await rm(join(this.directory, use), { force: true });
    return true;
  }

  async spend(token: JoinToken): Promise<void> {
    const { id, usesMax } = checkToken(await this.#files.read(token.id), token, Date.now());
    if (usesMax === null) return;
    for (let use = 1; use <= usesMax; use++)
      if (await this.#take(join(this.directory, `${id}.use-${use}`))) return;
    throw refusal('was used as often as it may be');
  }

  async holds(token: JoinToken): Promise<boolean> {
    return isGood(await this.#files.read(token.id), token);
  }

  /** Whether nobody has taken it before. */
  async #take(path: string): Promise<boolean> {
    try {
      return await writeNewPrivate(path, '');
    } catch (cause) {
      throw new ButterflyError(
        'JOIN_REFUSED',
        'The orchestrator cannot note that the join token is used; look at the disk and permissions of its data folder.',
        { cause },
      );
    }
  }

  async #usesOf(id: string): Promise<readonly string[]> {
    return (await this.#files.names()).filter((name) => name.startsWith(`${id}.use-`));
  }
}
