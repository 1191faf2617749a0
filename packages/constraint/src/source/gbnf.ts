import { limits } from '@butterfly/common';
import {
  characterSet,
  charactersOf,
  complement,
  everyCharacter,
  intersection,
  union,
  type CharacterSet,
} from '../automata/character-set.js';
import type { Path } from './constraint.js';
import { choice, literal, nothing, repeated, RuleBook, sequence, type Expression } from './grammar-text.js';
import { invalid, quoted } from './refusals.js';
import { patternRules } from './pattern-rules.js';
import { holdsMarkerEnds, plainForm } from './regex-grammar.js';

const nameCharacter = /[a-zA-Z0-9-]/u;
const blanks = /(?:[ \t]|#[^\n]*)*/uy;
const blanksAndLines = /(?:[ \t\r\n]|#[^\n]*)*/uy;
const repetition = /(?:[*+?]|\{\s*(\d+)\s*(?:(,)\s*(\d*)\s*)?\})/uy;

/**
 * Reads a grammar in llama.cpp's GBNF into rules of this book, and gives the expression of its rule `root`.
 * @throws ButterflyError REQUEST_INVALID with the line and column of what is wrong
 */
export function gbnfGrammar(source: string, book: RuleBook, path: Path): Expression {
  if (source.length > limits.grammarBytesMax)
    throw invalid(path, `a grammar has at most ${limits.grammarBytesMax} characters.`);
  return new GbnfParser(source, book, path).root();
}

class GbnfParser {
  /** The rule of our own for each of theirs. */
  readonly #names = new Map<string, string>();
  readonly #defined = new Set<string>();
  #at = 0;
  #depth = 0;

  constructor(
    private readonly source: string,
    private readonly book: RuleBook,
    private readonly path: Path,
  ) {}

  root(): Expression {
    this.#skip(true);
    while (this.#at < this.source.length) {
      this.#rule();
      this.#skip(true);
    }
    for (const name of this.#names.keys())
      if (!this.#defined.has(name)) throw invalid(this.path, `the grammar has no rule ${quoted(name)}.`);
    const root = this.#names.get('root');
    if (root === undefined) throw invalid(this.path, 'the grammar has no rule "root".');
    return root;
  }

  #rule(): void {
    const name = this.#name();
    this.#skip(false);
    if (!this.source.startsWith('::=', this.#at)) throw this.#refuse('"::=" is missing');
    this.#at += 3;
    this.#skip(true);
    if (this.#defined.has(name)) throw this.#refuse(`the rule ${quoted(name)} is there twice`);
    this.#defined.add(name);
    this.book.define(this.#ruleOf(name), this.#choices(false));
    const next = this.source[this.#at];
    if (next !== undefined && next !== '\n' && next !== '\r')
      throw this.#refuse('a line goes on behind its rule');
  }

  #ruleOf(name: string): string {
    const known = this.#names.get(name) ?? this.book.reserve();
    this.#names.set(name, known);
    return known;
  }

  #name(): string {
    const start = this.#at;
    while (nameCharacter.test(this.source[this.#at] ?? '')) this.#at++;
    if (start === this.#at) throw this.#refuse('the name of a rule is missing');
    return this.source.slice(start, this.#at);
  }

  /** @param isNested whether a group encloses it, in which it may go over several lines */
  #choices(isNested: boolean): Expression {
    const options = [this.#items(isNested)];
    while (this.source[this.#at] === '|') {
      this.#at++;
      this.#skip(true);
      options.push(this.#items(isNested));
    }
    // Each by a rule of its own, which is not put in its place: see `patternRules`.
    const apart = (option: Expression): Expression =>
      option === nothing
        ? option
        : this.book.add(
            sequence(
              option,
              this.book.once('nil', () => nothing),
            ),
          );
    return options.length === 1 ? sequence(...options) : choice(...options.map(apart));
  }

  #items(isNested: boolean): Expression {
    const items: Expression[] = [];
    for (let item = this.#item(); item !== null; item = this.#item()) {
      this.#skip(isNested);
      items.push(this.#times(item));
      this.#skip(isNested);
    }
    return items.length === 0 ? nothing : sequence(...items);
  }

  #item(): Expression | null {
    const character = this.source[this.#at];
    switch (character) {
      case '"':
        return this.#text();
      case '[':
        return this.#class();
      case '(':
        return this.#group();
      case '.':
        this.#at++;
        return this.#characters(everyCharacter);
      default:
        return nameCharacter.test(character ?? '') ? this.#ruleOf(this.#name()) : null;
    }
  }

  #group(): Expression {
    this.#at++;
    if (++this.#depth > limits.constraintDepthMax)
      throw this.#refuse(`more than ${limits.constraintDepthMax} groups lie within each other`);
    this.#skip(true);
    const inside = this.#choices(true);
    this.#depth--;
    if (this.source[this.#at] !== ')') throw this.#refuse('")" is missing');
    this.#at++;
    return inside;
  }

  #text(): Expression {
    this.#at++;
    let text = '';
    while (this.source[this.#at] !== '"') text += this.#character();
    this.#at++;
    if (holdsMarkerEnds(text)) throw this.#refuse('a text holds the characters 1 or 2');
    return text === '' ? nothing : literal(text);
  }

  #class(): Expression {
    this.#at++;
    const isNegated = this.source[this.#at] === '^';
    if (isNegated) this.#at++;
    const sets: CharacterSet[] = [];
    while (this.source[this.#at] !== ']') {
      const first = this.#character();
      const isRange = this.source[this.#at] === '-' && this.source[this.#at + 1] !== ']';
      if (isRange) this.#at++;
      const [from, to] = [first, isRange ? this.#character() : first].map((each) => each.codePointAt(0) ?? 0);
      if (from === undefined || to === undefined || from > to)
        throw this.#refuse('a range ends before it begins');
      sets.push(from === to ? charactersOf(first) : characterSet([[from, to]]));
    }
    this.#at++;
    const set = union(...sets);
    return this.#characters(isNegated ? complement(set) : intersection(set, everyCharacter));
  }

  #characters(set: CharacterSet): Expression {
    return patternRules(plainForm(set), this.book, this.path);
  }

  /** One character of a text or class, which may be written by its number. */
  #character(): string {
    const character = String.fromCodePoint(this.source.codePointAt(this.#at) ?? 0);
    if (this.#at >= this.source.length || character === '\n')
      throw this.#refuse('a text or class has no end');
    this.#at += character.length;
    if (character !== '\\') return character;
    const kind = this.source[this.#at++] ?? '';
    const plain: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
    const digits: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
    const count = digits[kind];
    if (count === undefined) {
      if ('"\\[]-^'.includes(kind) && kind !== '') return kind;
      const control = plain[kind];
      if (control === undefined) throw this.#refuse(`${quoted(`\\${kind}`)} stands for nothing`);
      return control;
    }
    const number = this.source.slice(this.#at, this.#at + count);
    const code = /^[0-9a-fA-F]+$/u.test(number) && number.length === count ? parseInt(number, 16) : Infinity;
    if (code > 0x10ffff) throw this.#refuse(`${quoted(`\\${kind}${number}`)} is no character`);
    this.#at += count;
    return String.fromCodePoint(code);
  }

  #times(item: Expression): Expression {
    repetition.lastIndex = this.#at;
    const match = repetition.exec(this.source);
    if (match === null) {
      if (this.source[this.#at] === '{') throw this.#refuse('a repetition is not {m}, {m,} or {m,n}');
      return item;
    }
    this.#at += match[0].length;
    const [said, least, comma, most] = match;
    const min = said === '+' ? 1 : Number(least ?? 0);
    const max = said === '?' ? 1 : least === undefined || (comma && !most) ? Infinity : Number(most ?? least);
    if (max < min) throw this.#refuse('a repetition ends before it begins');
    if (min > limits.repetitionsMax || (max !== Infinity && max > limits.repetitionsMax))
      throw this.#refuse(`a part is repeated more than ${limits.repetitionsMax} times`);
    return repeated(item, min, max);
  }

  /** Blanks and comments, and ends of lines too where these mean nothing. */
  #skip(overLines: boolean): void {
    const blank = overLines ? blanksAndLines : blanks;
    blank.lastIndex = this.#at;
    this.#at += blank.exec(this.source)?.[0].length ?? 0;
  }

  #refuse(what: string): Error {
    const lines = this.source.slice(0, this.#at).split('\n');
    const column = (lines.at(-1)?.length ?? 0) + 1;
    return invalid(this.path, `line ${lines.length}, column ${column}: ${what}.`);
  }
}
