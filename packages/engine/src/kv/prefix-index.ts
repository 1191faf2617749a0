import { ButterflyError } from '@butterfly/common';
import type { Prefixes, PrefixMatch } from './prefixes.js';
import { type BlockHash, chainedHash, type TokenReader } from './token-hash.js';

interface Owner {
  readonly id: number;
  readonly tokens: TokenReader;
  length: number;
  /** One for each whole block; each covers all tokens before it too. */
  readonly hashes: number[];
  /** Count of `set` calls at the last one of this owner. */
  recency: number;
}

/** An owner that may match, and the tokens that it shares if its hash does not deceive. */
interface Candidate {
  readonly owner: Owner;
  readonly tokens: number;
}

/** Owners of one block that are looked at, so that thousands of them under one system prompt cost little. */
const candidatesMax = 8;

/**
 * Finds whose cached tokens begin like those of a request. A map leads from the hash of each whole block, chained to
 * all before it, to its owners; every match is compared token by token before it is given out, so that equal hashes
 * of different tokens (an attacker can make them) never yield a false one. Memory is one entry for each owner and
 * block.
 */
export class PrefixIndex implements Prefixes {
  readonly #owners = new Map<number, Owner>();
  /** Owners by the hash of their first, second, ... block. */
  readonly #depths: Map<number, Set<Owner>>[] = [];
  #setCalls = 0;

  /** Prefixes shorter than `blockTokens` are not found. Tests force collisions by a `hash` of their own. */
  constructor(
    readonly blockTokens = 32,
    private readonly hash: BlockHash = chainedHash,
  ) {
    if (!Number.isSafeInteger(blockTokens) || blockTokens < 1)
      throw defect(`a block of ${blockTokens} tokens is not possible`);
  }

  /** Owners, with those of less than one block. */
  get size(): number {
    return this.#owners.size;
  }

  /** Different blocks of all owners. */
  get blocks(): number {
    return this.#depths.reduce((blocks, { size }) => blocks + size, 0);
  }

  /**
   * Says that `id` now has `tokens[0..length)` cached. The reader is kept, and only its first `length` tokens are
   * read, now and by `longest`: one of them may change only after a `set` of a smaller length, or `delete`. With the
   * same reader only new whole blocks are hashed.
   */
  set(id: number, tokens: TokenReader, length: number): void {
    if (!Number.isSafeInteger(length) || length < 0 || length > tokens.length)
      throw defect(`owner ${id} cannot have ${length} tokens cached of ${tokens.length}`);
    let owner = this.#owners.get(id);
    if (owner?.tokens !== tokens) {
      this.delete(id);
      owner = { id, tokens, length: 0, hashes: [], recency: 0 };
      this.#owners.set(id, owner);
    }
    this.#setCalls += 1;
    owner.recency = this.#setCalls;
    owner.length = length;
    this.#truncate(owner, Math.floor(length / this.blockTokens));
    this.#extend(owner, length);
  }

  /** Forgets an owner, or does nothing when there is none. */
  delete(id: number): void {
    const owner = this.#owners.get(id);
    if (owner === undefined) return;
    this.#truncate(owner, 0);
    this.#owners.delete(id);
  }

  /**
   * The owner with the longest common prefix with `tokens[0..lengthMax)`, by whole blocks first and then token by
   * token among the owners of the deepest block; among equals the one that was `set` last. Null when none shares a
   * whole block. Of more than 8 owners of that block only the 8 that were `set` last are compared, so that a match
   * may be up to `blockTokens - 1` tokens too short.
   *
   * Each shared token is hashed once and compared once; the last, broken block is compared for each candidate.
   * Colliding hashes cost more, but never more than 8 owners are compared in full.
   */
  longest(tokens: TokenReader, lengthMax: number): PrefixMatch | null {
    const length = Math.min(lengthMax, tokens.length);
    const path = this.#path(tokens, length);
    const judged = new Set<Owner>();
    let best: Candidate | null = null;
    for (let depth = path.length; depth > 0 && judged.size < candidatesMax; depth -= 1) {
      const shared = depth * this.blockTokens;
      for (const candidate of this.#candidates(path[depth - 1], judged, tokens, shared, length)) {
        if (judged.size === candidatesMax || (best !== null && compare(candidate, best) >= 0)) break;
        const found: Candidate = verified(candidate, tokens, shared);
        judged.add(found.owner);
        if (best === null || compare(found, best) < 0) best = found;
        if (found === candidate) break;
      }
      // An owner that is not in this block shares less than the end of it.
      if (best !== null && best.tokens >= shared) break;
    }
    return best === null || best.tokens < this.blockTokens
      ? null
      : { id: best.owner.id, tokens: best.tokens };
  }

  /** Ids of all owners that may share the first whole block of the tokens, and none that does is left out. */
  sharing(tokens: TokenReader): readonly number[] {
    const [owners] = this.#path(tokens, Math.min(this.blockTokens, tokens.length));
    return [...(owners ?? [])].map(({ id }) => id);
  }

  /** Any prefix can be gone on from; one of less than a block is not found. */
  worthKeeping(_id: number, length: number): number {
    return length < this.blockTokens ? 0 : length;
  }

  /** Owners of each whole block of the tokens, from the first on, as far as there are any. */
  #path(tokens: TokenReader, length: number): ReadonlySet<Owner>[] {
    const path: ReadonlySet<Owner>[] = [];
    let hash = 0;
    for (let end = this.blockTokens; end <= length; end += this.blockTokens) {
      hash = this.hash(hash, tokens, end - this.blockTokens, end);
      const owners = this.#depths[path.length]?.get(hash);
      if (owners === undefined) break;
      path.push(owners);
    }
    return path;
  }

  /** The owners that were `set` last, the best first, if all tokens before `shared` are equal. */
  #candidates(
    owners: ReadonlySet<Owner> | undefined,
    judged: ReadonlySet<Owner>,
    tokens: TokenReader,
    shared: number,
    length: number,
  ): Candidate[] {
    const latest: Owner[] = [];
    for (const owner of owners ?? []) {
      if (judged.has(owner)) continue;
      let at = latest.length;
      while (at > 0 && (latest[at - 1]?.recency ?? 0) > owner.recency) at -= 1;
      if (at === 0 && latest.length === candidatesMax) continue;
      if (at === latest.length) latest.push(owner);
      else latest.splice(at, 0, owner);
      if (latest.length > candidatesMax) latest.shift();
    }
    return latest
      .map((owner) => ({ owner, tokens: equalUntil(owner, tokens, shared, length) }))
      .sort(compare);
  }

  #extend(owner: Owner, length: number): void {
    for (let depth = owner.hashes.length; (depth + 1) * this.blockTokens <= length; depth += 1) {
      const start = depth * this.blockTokens;
      const hash = this.hash(owner.hashes.at(-1) ?? 0, owner.tokens, start, start + this.blockTokens);
      owner.hashes.push(hash);
      const blocks = (this.#depths[depth] ??= new Map<number, Set<Owner>>());
      const owners = blocks.get(hash);
      if (owners === undefined) blocks.set(hash, new Set([owner]));
      else owners.add(owner);
    }
  }

  #truncate(owner: Owner, blocks: number): void {
    if (owner.hashes.length <= blocks) return;
    for (const [index, hash] of owner.hashes.splice(blocks).entries()) {
      const owners = this.#depths[blocks + index]?.get(hash);
      owners?.delete(owner);
      if (owners?.size === 0) this.#depths[blocks + index]?.delete(hash);
    }
    while (this.#depths.at(-1)?.size === 0) this.#depths.pop();
  }
}

/** Negative when `a` is the better one. */
function compare(a: Candidate, b: Candidate): number {
  return b.tokens - a.tokens || b.owner.recency - a.owner.recency;
}

/** The candidate itself when all tokens before `shared` are equal, or what it shares in truth. */
function verified(candidate: Candidate, tokens: TokenReader, shared: number): Candidate {
  const { owner } = candidate;
  const equal = equalUntil(owner, tokens, 0, shared);
  return equal === shared ? candidate : { owner, tokens: equal };
}

/** Index of the first difference from `start` on, at most `end` and the length of the owner. */
function equalUntil(owner: Owner, tokens: TokenReader, start: number, end: number): number {
  const last = Math.min(end, owner.length);
  let index = start;
  while (index < last && owner.tokens.at(index) === tokens.at(index)) index += 1;
  return index;
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `Prefix index: ${message}; this is a defect, please report it.`);
}
