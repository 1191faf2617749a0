import { failure } from './errors.js';
import { Text } from './text.js';

/** What a template computes with, as in Python: `bigint` is `int`, `number` is `float`, null is `None`. */
export type Value =
  | null
  | boolean
  | bigint
  | number
  | Text
  | Missing
  | Sequence
  | Stream
  | Dict
  | Namespace
  | Callable
  | LoopValue;

/** jinja2's `Undefined`: empty where it is printed or iterated, an error where more is asked of it. */
export class Missing {
  constructor(readonly message: string) {}
}

type SequenceKind = 'list' | 'tuple' | 'range' | 'dict_keys' | 'dict_values' | 'dict_items';

export class Sequence {
  constructor(
    readonly kind: SequenceKind,
    readonly items: readonly Value[],
    /** What a `range` was made of. */
    readonly range: Range | null = null,
  ) {}
}

export interface Range {
  readonly start: bigint;
  readonly stop: bigint;
  readonly step: bigint;
}

/** A generator or iterator of Python: can be gone through once. */
export class Stream {
  #items: readonly Value[];
  constructor(items: readonly Value[]) {
    this.#items = items;
  }
  take(): readonly Value[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }
}

export class Dict {
  readonly #entries = new Map<string, readonly [Value, Value]>();
  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of entries) {
      const hash = hashOf(key);
      this.#entries.set(hash, [this.#entries.get(hash)?.[0] ?? key, value]);
    }
  }
  get size(): number {
    return this.#entries.size;
  }
  get(key: Value): Value | undefined {
    return this.#entries.get(hashOf(key))?.[1];
  }
  entries(): readonly (readonly [Value, Value])[] {
    return [...this.#entries.values()];
  }
  keys(): Value[] {
    return this.entries().map(([key]) => key);
  }
}

/** The one thing of a template that changes: `namespace()`. */
export class Namespace {
  readonly attributes = new Map<string, Value>();
}

export interface CallArguments {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

export class Callable {
  constructor(
    readonly name: string,
    readonly call: (given: CallArguments) => Value,
  ) {}
}

/** The `loop` of a `for`, which a recursive one can be called by. */
export class LoopValue {
  constructor(
    readonly attribute: (name: string) => Value | undefined,
    readonly recurse: ((items: Value) => Value) | null,
  ) {}
}

export const list = (items: readonly Value[]): Sequence => new Sequence('list', items);
export const tuple = (items: readonly Value[]): Sequence => new Sequence('tuple', items);

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint') return 'int';
  if (typeof value === 'number') return 'float';
  if (value instanceof Text) return 'str';
  if (value instanceof Sequence) return value.kind;
  if (value instanceof Dict) return 'dict';
  if (value instanceof Stream) return 'generator';
  if (value instanceof Namespace) return 'Namespace';
  if (value instanceof Missing) return 'Undefined';
  return value instanceof LoopValue ? 'LoopContext' : 'function';
}

export function isTrue(value: Value): boolean {
  if (value === null || value instanceof Missing) return false;
  if (typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return value !== 0n;
  if (typeof value === 'number') return value !== 0;
  if (value instanceof Text) return value.value !== '';
  if (value instanceof Sequence) return value.items.length > 0;
  return value instanceof Dict ? value.size > 0 : true;
}

/** A number, with booleans as Python's 0 and 1; null for anything else. */
export function numberOf(value: Value): bigint | number | null {
  if (typeof value === 'boolean') return value ? 1n : 0n;
  return typeof value === 'bigint' || typeof value === 'number' ? value : null;
}

/** A whole number that fits an index. @throws TemplateFailure for another type */
export function indexOf(value: Value): number {
  const number = numberOf(value);
  if (typeof number !== 'bigint')
    throw failure(`TypeError: '${typeName(value)}' object cannot be interpreted as an integer`);
  return Number(number);
}

/** @throws TemplateFailure for what cannot be iterated */
export function iterate(value: Value): readonly Value[] {
  if (value instanceof Missing) return [];
  if (value instanceof Text) return value.points();
  if (value instanceof Sequence) return value.items;
  if (value instanceof Stream) return value.take();
  if (value instanceof Dict) return value.keys();
  throw failure(`TypeError: '${typeName(value)}' object is not iterable`);
}

export function lengthOf(value: Value): number {
  if (value instanceof Text) return value.length;
  if (value instanceof Sequence) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof Missing) return 0;
  throw failure(`TypeError: object of type '${typeName(value)}' has no len()`);
}

/** Equal keys have equal hashes: 1, 1.0 and True are one key. @throws TemplateFailure for lists and dicts */
function hashOf(key: Value): string {
  if (key instanceof Text) return `s${key.value}`;
  if (key === null) return 'none';
  if (key instanceof Missing) return 'undefined';
  const number = numberOf(key);
  if (number !== null) return `n${typeof number === 'number' && Object.is(number, -0) ? 0 : number}`;
  if (key instanceof Sequence && key.kind === 'tuple')
    return `t${JSON.stringify(key.items.map((item) => hashOf(item)))}`;
  if (key instanceof Sequence && key.kind === 'range')
    return `r${key.items.map((item) => hashOf(item)).join()}`;
  throw failure(`TypeError: unhashable type: '${typeName(key)}'`);
}

export function isEqual(left: Value, right: Value): boolean {
  if (left === right) return !(typeof left === 'number' && Number.isNaN(left));
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a !== null && b !== null) return a <= b && a >= b;
  if (left instanceof Text && right instanceof Text) return left.value === right.value;
  if (left instanceof Missing) return right instanceof Missing;
  if (left instanceof Sequence && right instanceof Sequence)
    return (
      left.kind === right.kind &&
      left.items.length === right.items.length &&
      left.items.every((item, index) => isEqual(item, right.items[index] ?? null))
    );
  if (left instanceof Dict && right instanceof Dict)
    return (
      left.size === right.size &&
      left.entries().every(([key, value]) => {
        const other = right.get(key);
        return other !== undefined && isEqual(value, other);
      })
    );
  return false;
}

/** Negative, 0 or positive; NaN where neither holds. @throws TemplateFailure for what Python does not order */
export function compare(left: Value, right: Value, operator: string): number {
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a !== null && b !== null) return a < b ? -1 : a > b ? 1 : a <= b ? 0 : NaN;
  if (left instanceof Text && right instanceof Text) return compareTexts(left.value, right.value);
  if (left instanceof Missing || right instanceof Missing)
    throw failure(`UndefinedError: ${left instanceof Missing ? left.message : messageOf(right)}`);
  if (left instanceof Sequence && right instanceof Sequence && left.kind === right.kind)
    if (left.kind === 'list' || left.kind === 'tuple') {
      for (const [index, item] of left.items.entries()) {
        const other = right.items[index];
        if (other === undefined) return 1;
        if (!isEqual(item, other)) return compare(item, other, operator);
      }
      return left.items.length - right.items.length;
    }
  throw failure(
    `TypeError: '${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
  );
}

const messageOf = (value: Value): string => (value instanceof Missing ? value.message : '');

/** By code points, which differs from code units beyond the basic plane. */
function compareTexts(left: string, right: string): number {
  const [a, b] = [Array.from(left), Array.from(right)];
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i]?.codePointAt(0) ?? 0) - (b[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
