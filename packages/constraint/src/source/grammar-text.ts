import { ButterflyError, limits } from '@butterfly/common';
import type { ByteRange } from '../automata/character-set.js';

/** An expression of xgrammar's EBNF that may stand anywhere in another one. */
export type Expression = string;

/** What is nothing at all. */
export const nothing: Expression = '""';

/** Exactly this text. */
export function literal(text: string): Expression {
  return `"${Array.from(text, (character) => escaped(character.codePointAt(0) ?? 0, '"\\')).join('')}"`;
}

/** What JSON strings begin and end with. */
export const quoteMark: Expression = literal('"');

/**
 * One of these bytes. The library takes classes by bytes where they are beyond ASCII, and a single one for the character of
 * that number, unless it is said twice.
 */
export function bytesClass(ranges: readonly ByteRange[]): Expression {
  const point = (byte: number): string => (byte < 0x80 ? escaped(byte, '[]\\-^"') : `\\x${hex(byte, 2)}`);
  const parts = ranges.map(([first, last]) =>
    first !== last ? `${point(first)}-${point(last)}` : point(first).repeat(first < 0x80 ? 1 : 2),
  );
  return `[${parts.join('')}]`;
}

/** One after the other. */
export function sequence(...parts: readonly Expression[]): Expression {
  const said = parts.filter((part) => part !== nothing);
  return said.length === 0 ? nothing : said.length === 1 ? (said[0] ?? nothing) : `(${said.join(' ')})`;
}

/** One of them, of which there is at least one. */
export function choice(...options: readonly Expression[]): Expression {
  const distinct = [...new Set(options)];
  return distinct.length === 1 ? (distinct[0] ?? nothing) : `(${distinct.join(' | ')})`;
}

/** So many times, Infinity for as often as one likes. */
export function repeated(part: Expression, min: number, max: number): Expression {
  if (max === 0 || part === nothing) return nothing;
  if (min === 1 && max === 1) return part;
  const times =
    max === Infinity
      ? min === 0
        ? '*'
        : min === 1
          ? '+'
          : `{${min},}`
      : min === 0 && max === 1
        ? '?'
        : `{${min},${max}}`;
  return `(${part})${times}`;
}

/** Printable ASCII as it is, all else by its number, in eight digits: of fewer, the library takes those that follow too. */
function escaped(code: number, special: string): string {
  const character = String.fromCodePoint(code);
  if (code >= 0x20 && code < 0x7f) return special.includes(character) ? `\\U${hex(code, 8)}` : character;
  return `\\U${hex(code, 8)}`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** Rules by name, in the order in which they came; the text of a grammar in the end. */
export class RuleBook {
  readonly #rules = new Map<string, Expression>();
  #bytes = 0;
  #serial = 0;

  /** A rule under a name of its own choice. @throws ButterflyError REQUEST_INVALID when the grammar becomes too large */
  add(expression: Expression): Expression {
    const name = `r${this.#serial++}`;
    this.define(name, expression);
    return name;
  }

  /** A name for a rule that is defined later, for those that refer to themselves. */
  reserve(): string {
    return `r${this.#serial++}`;
  }

  /** The rule of this name, made when it is first asked for. */
  once(name: string, make: () => Expression): Expression {
    if (!this.#rules.has(name)) this.define(name, make());
    return name;
  }

  /** @throws ButterflyError REQUEST_INVALID when the grammar becomes too large */
  define(name: string, expression: Expression): void {
    this.#rules.set(name, expression);
    this.#bytes += name.length + expression.length + 6;
    if (this.#bytes > limits.grammarBytesMax)
      throw new ButterflyError(
        'REQUEST_INVALID',
        `The grammar of this constraint has over ${limits.grammarBytesMax} bytes; ask for less at once.`,
      );
  }

  /** What this makes, or nothing of it but another thing, where it throws a ButterflyError. */
  attempt(make: () => Expression, otherwise: () => Expression): Expression {
    const [rules, bytes, serial] = [this.#rules.size, this.#bytes, this.#serial];
    try {
      return make();
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      for (const name of [...this.#rules.keys()].slice(rules)) this.#rules.delete(name);
      [this.#bytes, this.#serial] = [bytes, serial];
      return otherwise();
    }
  }

  /** The grammar that begins with this expression. */
  text(root: Expression): string {
    this.define('root', root);
    return [...this.#rules].map(([name, expression]) => `${name} ::= ${expression}\n`).join('');
  }
}
