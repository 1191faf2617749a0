import { limits } from '@butterfly/common';
import {
  characterSet,
  charactersOf,
  complement,
  difference,
  everyCharacter,
  union,
  type CharacterSet,
} from '../automata/character-set.js';
import type { Path } from './constraint.js';
import { anyOf, choiceOf, sequenceOf, times, type Pattern } from './pattern.js';
import { invalid, quoted, unsupported } from './refusals.js';

/** A branch of a whole pattern, and to which ends of the text it is bound. */
export interface Branch {
  readonly pattern: Pattern;
  readonly isAtStart: boolean;
  readonly isAtEnd: boolean;
}

const digits = characterSet([[0x30, 0x39]]);
const word = characterSet([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
const space = union(charactersOf('\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff'), [
  [0x2000, 0x200a],
]);
const lineEnds = charactersOf('\n\r\u2028\u2029');
const classes: Readonly<Record<string, CharacterSet>> = {
  d: digits,
  D: complement(digits),
  w: word,
  W: complement(word),
  s: space,
  S: complement(space),
};
const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', '0': '\0' };

/**
 * Reads a pattern of ECMAScript in unicode mode.
 * @throws ButterflyError REQUEST_INVALID for what is none, REQUEST_UNSUPPORTED for look-around, back references, word
 * boundaries, properties of characters, flags, and anchors in the midst
 */
export function parsePattern(source: string, path: Path): readonly Branch[] {
  try {
    new RegExp(source, 'u');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw invalid(path, `${quoted(source)} is no pattern (${reason.slice(0, 200)}).`);
  }
  if (source.length > limits.patternCharactersMax)
    throw invalid(path, `a pattern has at most ${limits.patternCharactersMax} characters.`);
  return new PatternParser(source, path).branches();
}

/** Recursive descent over a pattern that is known to be one. */
class PatternParser {
  readonly #characters: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(
    private readonly source: string,
    private readonly path: Path,
  ) {
    this.#characters = Array.from(source);
  }

  branches(): Branch[] {
    const branches: Branch[] = [];
    do {
      const isAtStart = this.#takes('^');
      const pattern = this.#sequence();
      branches.push({ pattern, isAtStart, isAtEnd: this.#takes('$') });
    } while (this.#takes('|'));
    if (this.#at < this.#characters.length) throw this.#refuse('anchors only at its ends');
    return branches;
  }

  #sequence(): Pattern {
    const parts: Pattern[] = [];
    for (let next = this.#peek(); next !== undefined && !'|)$'.includes(next); next = this.#peek())
      parts.push(this.#repeated());
    return sequenceOf(parts);
  }

  #repeated(): Pattern {
    const part = this.#atom();
    const count = this.#times();
    if (count === null) return part;
    // Which of the matches it prefers changes nothing of what matches.
    this.#takes('?');
    const [min, max] = count;
    if (max !== Infinity && max > limits.repetitionsMax)
      throw this.#refuse(`at most ${limits.repetitionsMax} repetitions`);
    if (min > limits.repetitionsMax) throw this.#refuse(`at most ${limits.repetitionsMax} repetitions`);
    return times(part, min, max);
  }

  #times(): readonly [number, number] | null {
    if (this.#takes('*')) return [0, Infinity];
    if (this.#takes('+')) return [1, Infinity];
    if (this.#takes('?')) return [0, 1];
    if (!this.#takes('{')) return null;
    const min = Number(this.#until(/[,}]/u));
    if (this.#next() === '}') return [min, min];
    const max = this.#until(/\}/u);
    this.#next();
    return [min, max === '' ? Infinity : Number(max)];
  }

  #atom(): Pattern {
    const character = this.#next();
    switch (character) {
      case '(':
        return this.#group();
      case '[':
        return anyOf(this.#class());
      case '.':
        return anyOf(difference(everyCharacter, lineEnds));
      case '\\':
        return anyOf(this.#escape());
      case '^':
        throw this.#refuse('anchors only at its ends');
      default:
        return anyOf(charactersOf(character));
    }
  }

  #group(): Pattern {
    if (this.#takes('?') && !this.#takes(':')) {
      if (!this.#takes('<') || '=!'.includes(this.#peek() ?? ''))
        throw this.#refuse('no look-around and no flags');
      this.#until(/>/u);
      this.#next();
    }
    if (++this.#depth > limits.constraintDepthMax)
      throw this.#refuse(`at most ${limits.constraintDepthMax} groups within each other`);
    const options: Pattern[] = [];
    do options.push(this.#sequence());
    while (this.#takes('|'));
    this.#depth--;
    if (!this.#takes(')')) throw this.#refuse('anchors only at its ends');
    return choiceOf(options);
  }

  #class(): CharacterSet {
    const isNegated = this.#takes('^');
    const sets: CharacterSet[] = [];
    while (!this.#takes(']')) {
      const set = this.#classAtom();
      const first = single(set);
      if (this.#peek() === '-' && this.#characters[this.#at + 1] !== ']' && first !== null) {
        this.#next();
        const last = single(this.#classAtom());
        sets.push([[first, last ?? first]]);
      } else sets.push(set);
    }
    const set = difference(union(...sets), [[0xd800, 0xdfff]]);
    return isNegated ? complement(set) : set;
  }

  #classAtom(): CharacterSet {
    const character = this.#next();
    if (character !== '\\') return charactersOf(character);
    return this.#takes('b') ? charactersOf('\b') : this.#escape();
  }

  #escape(): CharacterSet {
    const character = this.#next();
    const named = classes[character];
    if (named) return named;
    const control = controls[character];
    if (control !== undefined) return charactersOf(control);
    switch (character) {
      case 'x':
        return charactersOf(String.fromCodePoint(parseInt(this.#next() + this.#next(), 16)));
      case 'u':
        return charactersOf(String.fromCodePoint(this.#codePoint()));
      case 'c':
        return charactersOf(String.fromCodePoint((this.#next().codePointAt(0) ?? 0) % 32));
      default:
        if (/[\w]/u.test(character)) throw this.#refuse(`no \\${character}`);
        return charactersOf(character);
    }
  }

  #codePoint(): number {
    if (this.#takes('{')) {
      const code = parseInt(this.#until(/\}/u), 16);
      this.#next();
      return code;
    }
    const unit = this.#unit();
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    const isPair = this.#takes('\\') && this.#takes('u');
    if (!isPair) throw this.#refuse('no half of a surrogate pair');
    return 0x10000 + ((unit & 0x3ff) << 10) + (this.#unit() & 0x3ff);
  }

  #unit(): number {
    return parseInt(this.#next() + this.#next() + this.#next() + this.#next(), 16);
  }

  #until(end: RegExp): string {
    let text = '';
    for (let next = this.#peek(); next !== undefined && !end.test(next); next = this.#peek())
      text += this.#next();
    return text;
  }

  #peek(): string | undefined {
    return this.#characters[this.#at];
  }

  #next(): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw invalid(this.path, `${quoted(this.source)} ends too early.`);
    return character;
  }

  #takes(character: string): boolean {
    if (this.#characters[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #refuse(what: string): Error {
    return unsupported(
      this.path,
      `patterns that answers are held to have ${what}; ${quoted(this.source)} differs.`,
    );
  }
}

function single(set: CharacterSet): number | null {
  const [range] = set;
  return set.length === 1 && range && range[0] === range[1] ? range[0] : null;
}
