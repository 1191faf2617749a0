import { createHash } from 'node:crypto';
import { ButterflyError, limits, secretsEqual } from '@butterfly/common';
import { type JoinToken, newJoinToken } from '../join-token.js';

/** What is known of a token, by which nobody can join. */
export interface TokenRecord {
  readonly id: string;
  /** SHA-256 of its secret, in hexadecimal. */
  readonly digest: string;
  /** By the clock of the system. */
  readonly createdAtMs: number;
  /** Null for one that never ends. */
  readonly expiresAtMs: number | null;
  /** How many workers may join with it; null for any number. */
  readonly usesMax: number | null;
  readonly note: string;
}

/** A token as it is listed. */
export interface ListedToken extends TokenRecord {
  readonly uses: number;
}

export interface TokenWishes {
  /** How long workers may join with it; null for ever. */
  readonly lifeMs: number | null;
  readonly usesMax: number | null;
  readonly note: string;
}

/** Tokens of a cluster, by which new workers join. */
export interface JoinTokens {
  /** @throws ButterflyError CONFIG_INVALID when there are too many */
  create(wishes: TokenWishes): Promise<JoinToken>;
  list(): Promise<readonly ListedToken[]>;
  /** Whether there was such a token. Workers that joined with it stay. */
  revoke(id: string): Promise<boolean>;
  /** Counts one use of a token. @throws ButterflyError JOIN_REFUSED for one that is unknown, expired, revoked or spent */
  spend(token: JoinToken): Promise<void>;
  /** Whether it is good, which is no use of it. */
  holds(token: JoinToken): Promise<boolean>;
}

/** A record of a new token. */
export function recordOf({ id, secret }: JoinToken, wishes: TokenWishes, nowMs: number): TokenRecord {
  return {
    id,
    digest: digestOf(secret),
    createdAtMs: nowMs,
    expiresAtMs: wishes.lifeMs === null ? null : nowMs + wishes.lifeMs,
    usesMax: wishes.usesMax,
    note: wishes.note,
  };
}

/** @throws ButterflyError JOIN_REFUSED unless this is the token of the record, and has not expired */
export function checkToken(record: TokenRecord | null, { secret }: JoinToken, nowMs: number): TokenRecord {
  // An unknown one takes as long as a wrong one.
  const isRight = secretsEqual(record?.digest ?? '', digestOf(secret));
  if (!record || !isRight) throw refusal('is unknown or was revoked');
  if (record.expiresAtMs !== null && record.expiresAtMs <= nowMs) throw refusal('has expired');
  return record;
}

/** What a worker hears whose token does not let it in. */
export function refusal(why: string): ButterflyError {
  return new ButterflyError(
    'JOIN_REFUSED',
    `The join token ${why}; ask for another one, which "butterfly token create" makes at the orchestrator.`,
  );
}

/** @throws ButterflyError CONFIG_INVALID */
export function checkRoom(tokens: number): void {
  if (tokens >= limits.joinTokensMax)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `There are ${limits.joinTokensMax} join tokens already; revoke some with "butterfly token revoke".`,
    );
}

function digestOf(secret: Buffer): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** Tokens that end with this process. */
export class PassingTokens implements JoinTokens {
  readonly #records = new Map<string, { readonly record: TokenRecord; uses: number }>();

  constructor(private readonly fingerprint: Buffer) {}

  create(wishes: TokenWishes): Promise<JoinToken> {
    const nowMs = Date.now();
    for (const [id, { record }] of this.#records)
      if (record.expiresAtMs !== null && record.expiresAtMs <= nowMs) this.#records.delete(id);
    checkRoom(this.#records.size);
    const token = newJoinToken(this.fingerprint);
    this.#records.set(token.id, { record: recordOf(token, wishes, nowMs), uses: 0 });
    return Promise.resolve(token);
  }

  list(): Promise<readonly ListedToken[]> {
    return Promise.resolve([...this.#records.values()].map(({ record, uses }) => ({ ...record, uses })));
  }

  revoke(id: string): Promise<boolean> {
    return Promise.resolve(this.#records.delete(id));
  }

  async spend(token: JoinToken): Promise<void> {
    const kept = this.#records.get(token.id);
    const { usesMax } = checkToken(kept?.record ?? null, token, Date.now());
    if (!kept || (usesMax !== null && kept.uses >= usesMax)) throw refusal('was used as often as it may be');
    kept.uses++;
    return Promise.resolve();
  }

  async holds(token: JoinToken): Promise<boolean> {
    return Promise.resolve(isGood(this.#records.get(token.id)?.record ?? null, token));
  }
}

/** Whether `checkToken` has nothing against it. */
export function isGood(record: TokenRecord | null, token: JoinToken): boolean {
  try {
    checkToken(record, token, Date.now());
    return true;
  } catch {
    return false;
  }
}
