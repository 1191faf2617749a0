import { ButterflyError } from '@butterfly/common';
import { failed } from './failure.js';

/** How much a journal keeps at most. */
export interface JournalBounds {
  /** What all requests and entries may take together, each with some 40 bytes beside it. */
  readonly bytesMax: number;
  readonly requestsMax: number;
}

/** How far a request is kept. */
export interface Account {
  /** What it takes, about. */
  bytes: number;
  /** Entries that were given to the store, and those of them that it has. */
  given: number;
  kept: number;
  /** Its answer was given to the store as over, and when it was; null until the store has that. */
  isOver: boolean;
  endedMs: number | null;
  /** Something of it could not be kept: what came after would stand in the wrong place. */
  incomplete: boolean;
}

/** Which requests are kept, within bounds, and what may still be done with each: the same for all journals. */
export class Ledger<T extends Account> {
  readonly #accounts = new Map<string, T>();
  #held = 0;
  #bytes = 0;
  #isClosed = false;

  constructor(private readonly bounds: JournalBounds) {}

  /** One that is there already, bounds or not. */
  adopt(id: string, account: T): void {
    this.#accounts.set(id, account);
    this.#held++;
    this.#bytes += account.bytes;
  }

  /** @throws ButterflyError JOURNAL_FAILED for an id that is kept, QUEUE_FULL for one more than there may be */
  checkNew(id: string): void {
    this.checkOpen();
    if (this.#accounts.has(id)) throw failed('A request with this id is kept already');
    if (this.#held >= this.bounds.requestsMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        `The journal keeps ${this.#held} requests, as many as it may; retry later.`,
      );
  }

  /** After `checkNew`. @throws ButterflyError QUEUE_FULL where there is no room */
  begin(id: string, account: T): void {
    if (this.#bytes + account.bytes > this.bounds.bytesMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        'The journal has no room for another request; retry later, or give it more room.',
      );
    this.adopt(id, account);
  }

  /** Takes the room for entries. @throws ButterflyError JOURNAL_FAILED where they may not be appended, or there is none */
  append(id: string, bytes: number, entries: number): T {
    const account = this.#whole(id);
    if (account.isOver) throw failed('The answer is over to which more should be appended');
    if (entries === 0) return account;
    if (this.#bytes + bytes > this.bounds.bytesMax) {
      account.incomplete = true;
      throw failed('The journal has no room for more of the answer; give it more room, or let less be kept');
    }
    this.#bytes += bytes;
    account.bytes += bytes;
    account.given += entries;
    return account;
  }

  /** @throws ButterflyError JOURNAL_FAILED */
  end(id: string): T {
    const account = this.#whole(id);
    account.isOver = true;
    return account;
  }

  get(id: string): T | undefined {
    this.checkOpen();
    return this.#accounts.get(id);
  }

  /** No longer known, while its room is not free yet: until `release`, or `restore`. */
  remove(id: string): T | undefined {
    const account = this.get(id);
    this.#accounts.delete(id);
    return account;
  }

  release(account: T): void {
    this.#held--;
    this.#bytes -= account.bytes;
  }

  /** It could not be forgotten, and can only be that. */
  restore(id: string, account: T): void {
    account.incomplete = true;
    if (!this.#accounts.has(id)) this.#accounts.set(id, account);
  }

  /** Whether it was not closed before. */
  close(): boolean {
    const wasOpen = !this.#isClosed;
    this.#isClosed = true;
    return wasOpen;
  }

  /** @throws ButterflyError JOURNAL_FAILED */
  checkOpen(): void {
    if (this.#isClosed) throw failed('The journal is closed');
  }

  #whole(id: string): T {
    const account = this.get(id);
    if (!account) throw failed('The request is not kept of which more should be');
    if (account.incomplete) throw failed('An earlier part of the answer could not be kept, so no more is');
    return account;
  }
}

/** Of a request of which nothing came yet. */
export function newAccount(bytes: number): Account {
  return { bytes, given: 0, kept: 0, isOver: false, endedMs: null, incomplete: false };
}

/** @throws ButterflyError CONFIG_INVALID */
export function checkBounds({ bytesMax, requestsMax }: JournalBounds): void {
  for (const [name, value] of Object.entries({ bytesMax, requestsMax }))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new ButterflyError('CONFIG_INVALID', `${name} must be a whole number from 1.`);
}
