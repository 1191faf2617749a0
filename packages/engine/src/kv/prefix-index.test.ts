import { ButterflyError } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PrefixIndex } from './prefix-index.js';
import type { PrefixMatch } from './prefixes.js';
import type { BlockHash, TokenReader } from './token-hash.js';

class Tokens implements TokenReader {
  constructor(readonly values: number[]) {}

  get length(): number {
    return this.values.length;
  }

  at(index: number): number {
    const value = this.values[index];
    if (value === undefined) throw new RangeError(`token ${index} of ${this.values.length} was read`);
    return value;
  }
}

function equalTokens(a: readonly number[], b: readonly number[]): number {
  const length = Math.min(a.length, b.length);
  let index = 0;
  while (index < length && a[index] === b[index]) index += 1;
  return index;
}

/** The index beside the plainest thing that does the same. */
class ModelIndex {
  readonly index: PrefixIndex;
  /** Owners in the order of their last `set`. */
  readonly owners = new Map<number, { readonly tokens: Tokens; readonly length: number }>();

  constructor(blockTokens: number, hash?: BlockHash) {
    this.index = new PrefixIndex(blockTokens, hash);
  }

  set(id: number, tokens: Tokens, length: number): void {
    this.index.set(id, tokens, length);
    this.owners.delete(id);
    this.owners.set(id, { tokens, length });
    // Nothing behind the length may be read.
    tokens.values.splice(length);
  }

  delete(id: number): void {
    this.index.delete(id);
    this.owners.delete(id);
  }

  /** All that share a whole block, the best first. */
  matches(request: readonly number[]): PrefixMatch[] {
    return [...this.owners]
      .reverse()
      .map(([id, { tokens, length }]) => ({
        id,
        tokens: equalTokens(tokens.values.slice(0, length), request),
      }))
      .filter(({ tokens }) => tokens >= this.index.blockTokens)
      .sort((a, b) => b.tokens - a.tokens);
  }

  check(request: readonly number[]): void {
    const { blockTokens } = this.index;
    const found = this.index.longest(new Tokens([...request, 0]), request.length);
    const matches = this.matches(request);
    const blocks = (match: PrefixMatch | undefined): number => Math.floor((match?.tokens ?? 0) / blockTokens);
    const deepest = matches.filter((match) => blocks(match) === blocks(matches[0]));
    if (deepest.length <= 8) expect(found).toEqual(matches[0] ?? null);
    else {
      expect(matches).toContainEqual(found);
      expect(blocks(found ?? undefined)).toBe(blocks(matches[0]));
    }
    expect(this.index.size).toBe(this.owners.size);
  }

  deleteAll(): void {
    for (const id of [...this.owners.keys()]) this.delete(id);
    expect(this.index.size).toBe(0);
    expect(this.index.blocks).toBe(0);
  }
}

const text = fc.array(fc.integer({ min: 0, max: 1 }), { maxLength: 14 });
const operations = (idsMax: number) =>
  fc.array(
    fc.record({
      kind: fc.constantFrom('set', 'set', 'extend', 'extend', 'truncate', 'delete', 'find'),
      id: fc.integer({ min: 0, max: idsMax }),
      text,
      length: fc.nat(14),
    }),
    { maxLength: 60 },
  );
type Operation = ReturnType<typeof operations> extends fc.Arbitrary<(infer T)[]> ? T : never;

function apply(model: ModelIndex, { kind, id, text: values, length }: Operation): void {
  const owner = model.owners.get(id);
  if (kind === 'delete') model.delete(id);
  else if (kind === 'find') model.check(values);
  else if (kind === 'set') model.set(id, new Tokens([...values]), Math.min(length, values.length));
  else if (owner !== undefined) {
    if (kind === 'extend') owner.tokens.values.push(...values);
    model.set(id, owner.tokens, Math.min(owner.tokens.length, kind === 'extend' ? Infinity : length));
  }
}

function run(model: ModelIndex, trace: readonly Operation[]): void {
  for (const each of trace) {
    apply(model, each);
    model.check(each.text);
  }
  for (const { tokens, length } of [...model.owners.values()]) model.check(tokens.values.slice(0, length));
  model.deleteAll();
}

describe('PrefixIndex', () => {
  it('finds what a comparison with every owner finds, through any trace', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), operations(15), (blockTokens, trace) => {
        run(new ModelIndex(blockTokens), trace);
      }),
      { numRuns: 1500 },
    );
  });

  it('finds the same when most hashes collide', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        operations(7),
        (blockTokens, hashes, trace) => {
          const weak: BlockHash = (previous, tokens, start) => (previous + tokens.at(start)) % hashes;
          run(new ModelIndex(blockTokens, weak), trace);
        },
      ),
      { numRuns: 1500 },
    );
  });

  it('gives no false match when more owners collide than are compared', () => {
    const index = new PrefixIndex(4, () => 0);
    const shared = new Tokens([1, 2, 3, 4, 5, 6, 7, 8]);
    index.set(0, shared, 8);
    for (let id = 1; id <= 20; id += 1) index.set(id, new Tokens([1, 2, 3, 4 + id, 5, 6, 7, 8]), 8);
    expect(index.longest(shared, 8)).toBeNull();
    index.set(0, shared, 8);
    expect(index.longest(shared, 8)).toEqual({ id: 0, tokens: 8 });
  });

  it('compares the last block of the 8 owners that were set last', () => {
    const index = new PrefixIndex(4);
    const request = new Tokens([1, 2, 3, 4, 5, 6, 7]);
    index.set(0, request, 7);
    for (let id = 1; id <= 8; id += 1) index.set(id, new Tokens([1, 2, 3, 4, 5, id + 10]), 6);
    expect(index.longest(request, 7)).toEqual({ id: 8, tokens: 5 });
    index.set(0, request, 7);
    expect(index.longest(request, 7)).toEqual({ id: 0, tokens: 7 });
  });

  it('hashes each block once while an owner grows', () => {
    let hashed = 0;
    const counting: BlockHash = (previous, tokens, start, end) => {
      hashed += 1;
      return previous * 31 + tokens.at(start) + end;
    };
    const index = new PrefixIndex(4, counting);
    const tokens = new Tokens([]);
    for (let length = 1; length <= 100; length += 1) {
      tokens.values.push(7);
      index.set(1, tokens, length);
    }
    expect(hashed).toBe(25);
    expect(index.blocks).toBe(25);
  });

  it('takes the content of a new reader, even when it is as long', () => {
    const index = new PrefixIndex(2);
    index.set(1, new Tokens([1, 2, 3, 4]), 4);
    index.set(1, new Tokens([5, 6, 7, 8]), 4);
    expect(index.longest(new Tokens([1, 2, 3, 4]), 4)).toBeNull();
    expect(index.longest(new Tokens([5, 6, 7, 9]), 4)).toEqual({ id: 1, tokens: 3 });
    expect(index.longest(new Tokens([5, 6, 7, 8]), 1)).toBeNull();
  });

  it('refuses misuse with a typed error', () => {
    const index = new PrefixIndex();
    const tokens = new Tokens([1, 2, 3]);
    for (const misuse of [
      () => index.set(1, tokens, 4),
      () => index.set(1, tokens, -1),
      () => index.set(1, tokens, 0.5),
      () => new PrefixIndex(0),
      () => new PrefixIndex(1.5),
    ])
      expect(misuse).toThrow(ButterflyError);
    expect(index.size).toBe(0);
  });
});
