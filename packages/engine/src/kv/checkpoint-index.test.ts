import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomSource } from '../testing/fake-pipeline.js';
import { CheckpointIndex } from './checkpoint-index.js';
import { StateSlots } from './state-slots.js';
import type { BlockHash, TokenReader } from './token-hash.js';

const blockTokens = 3;
const slots = 8;

interface Naive {
  readonly tokens: readonly number[];
  readonly owners: Set<number>;
}

const reader = (tokens: readonly number[]): TokenReader => ({
  length: tokens.length,
  at: (index) => tokens[index] ?? -1,
});

const begins = (tokens: readonly number[], prefix: readonly number[]): boolean =>
  prefix.length <= tokens.length && prefix.every((token, index) => token === tokens[index]);

/** The index beside slots with real contents, and a naive account of all checkpoints, the one used longest ago first. */
class ModelIndex {
  readonly slots = new StateSlots(slots);
  readonly index: CheckpointIndex;
  /** What each slot holds the state behind. */
  readonly #contents = new Map<number, string>();
  readonly #owners = new Map<number, { readonly tokens: readonly number[]; readonly reader: TokenReader }>();
  #checkpoints: Naive[] = [];

  constructor(hash?: BlockHash) {
    this.index = new CheckpointIndex(this.slots, blockTokens, hash);
  }

  get ids(): readonly number[] {
    return [...this.#owners.keys()];
  }

  find(tokens: readonly number[], lengthMax: number): void {
    const found = this.index.longest(reader(tokens), lengthMax);
    const best = this.#best(tokens, lengthMax);
    expect(found?.tokens ?? 0).toBe(best?.tokens.length ?? 0);
    if (!found || !best) return;
    expect(best.owners.has(found.id)).toBe(true);
    const slot = this.index.slotAt(found.id, found.tokens);
    expect(this.#contents.get(slot)).toBe(tokens.slice(0, found.tokens).join());
    const ending = [...best.owners].filter((id) => this.#longestOf(id) === found.tokens);
    if (ending.length > 0) expect(ending).toContain(found.id);
  }

  /** Somebody new has some tokens cached. */
  set(id: number, tokens: readonly number[], length: number): void {
    const best = this.#best(tokens, length);
    const [model] = best?.owners ?? [];
    const owner = { tokens, reader: reader(tokens) };
    this.index.set(id, owner.reader, length);
    if (best && model !== undefined) {
      const given = this.#checkpoints.filter(
        (each) => each.owners.has(model) && each.tokens.length <= best.tokens.length,
      );
      this.#forget(id, new Set(given));
      for (const { owners } of given) owners.add(id);
      this.#touch(best);
    } else this.#forget(id, new Set());
    this.#owners.set(id, owner);
    this.#check();
  }

  truncate(id: number, length: number): void {
    const owner = this.#owners.get(id);
    if (!owner) return;
    this.index.set(id, owner.reader, length);
    this.#forget(id, new Set(this.#checkpoints.filter(({ tokens }) => tokens.length <= length)));
    this.#check();
  }

  /** A step ended behind so many tokens of somebody. */
  keep(id: number, positionMax: number): void {
    const owner = this.#owners.get(id);
    const position = Math.min(positionMax, owner?.tokens.length ?? 0);
    const slot = this.slots.take();
    if (slot === null) return;
    if (!owner) {
      this.slots.leave(slot);
      return;
    }
    this.#contents.set(slot, owner.tokens.slice(0, position).join());
    this.index.keep(id, position, slot);
    this.slots.leave(slot);
    if (position >= blockTokens) {
      const tokens = owner.tokens.slice(0, position);
      const equal = this.#checkpoints.find((each) => each.tokens.join() === tokens.join());
      const checkpoint = equal ?? { tokens, owners: new Set() };
      if (!equal?.owners.has(id)) this.#touch(checkpoint);
      checkpoint.owners.add(id);
    }
    this.#check();
  }

  drop(): void {
    const oldest = this.#checkpoints.shift();
    const ids = this.index.dropOldest();
    expect(ids && [...ids].sort()).toEqual(oldest ? [...oldest.owners].sort() : null);
    this.#check();
  }

  delete(id: number): void {
    this.index.delete(id);
    this.#owners.delete(id);
    this.#forget(id, new Set());
    this.#check();
  }

  distrust(tokens: readonly number[]): void {
    const isSharing = (each: Naive): boolean =>
      tokens.length >= blockTokens && begins(each.tokens, tokens.slice(0, blockTokens));
    this.index.distrust(reader(tokens));
    this.#checkpoints = this.#checkpoints.filter((each) => !isSharing(each));
    this.#check();
  }

  #best(tokens: readonly number[], lengthMax: number): Naive | undefined {
    const fitting = this.#checkpoints.filter((each) => begins(tokens.slice(0, lengthMax), each.tokens));
    return fitting.sort((a, b) => b.tokens.length - a.tokens.length)[0];
  }

  #longestOf(id: number): number {
    return Math.max(
      0,
      ...this.#checkpoints.filter(({ owners }) => owners.has(id)).map(({ tokens }) => tokens.length),
    );
  }

  #touch(checkpoint: Naive): void {
    this.#checkpoints = [...this.#checkpoints.filter((each) => each !== checkpoint), checkpoint];
  }

  #forget(id: number, spared: ReadonlySet<Naive>): void {
    for (const checkpoint of this.#checkpoints) if (!spared.has(checkpoint)) checkpoint.owners.delete(id);
    this.#checkpoints = this.#checkpoints.filter(({ owners }) => owners.size > 0);
  }

  #check(): void {
    expect(this.index.size).toBe(this.#checkpoints.length);
    expect(this.slots.free).toBe(slots - 2 - this.#checkpoints.length);
    for (const id of this.ids) expect(this.index.worthKeeping(id, 1000)).toBe(this.#longestOf(id));
  }
}

/** Whatever happens; tokens are few, so that much is shared. */
function runTrace(seed: number, hash?: BlockHash): void {
  const random = randomSource(seed);
  const model = new ModelIndex(hash);
  const sometokens = (): number[] => Array.from({ length: random.between(1, 12) }, () => random.below(2));
  for (let action = 0; action < 60; action += 1) {
    const id = random.below(5);
    const kind = random.below(20);
    const tokens = sometokens();
    if (kind < 5) model.set(id, tokens, random.between(0, tokens.length));
    else if (kind < 11) model.keep(id, random.between(1, 12));
    else if (kind < 12) model.truncate(id, random.between(0, 12));
    else if (kind < 13) model.delete(id);
    else if (kind < 14) model.drop();
    else if (kind < 15 && random.below(3) === 0) model.distrust(tokens);
    else model.find(tokens, random.between(0, tokens.length));
  }
}

describe('CheckpointIndex', () => {
  it('finds what a comparison with every checkpoint finds, through any trace', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => runTrace(seed)),
      { numRuns: 500 },
    );
  });

  it('finds the same when most hashes collide', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => runTrace(seed, (previous) => previous % 2)),
      { numRuns: 300 },
    );
  });

  it('spares what is read at this moment, however long ago it came', () => {
    const pool = new StateSlots(4);
    const index = new CheckpointIndex(pool, blockTokens);
    for (const [id, first] of [5, 6].entries()) {
      index.set(id, reader([first, 1, 2, 3]), 4);
      const slot = pool.take() ?? 0;
      index.keep(id, 4, slot);
      // The first one stays in use.
      if (id === 1) pool.leave(slot);
    }
    expect(index.dropOldest()).toEqual([1]);
    expect(index.dropOldest()).toBe(null);
    expect(index.longest(reader([5, 1, 2, 3, 4]), 5)).toEqual({ id: 0, tokens: 4 });
  });
});
