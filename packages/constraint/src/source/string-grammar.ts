import { limits } from '@butterfly/common';
import { characterSet, charactersOf } from '../automata/character-set.js';
import type { Json, Path } from './constraint.js';
import { quoteMark, repeated, sequence, type Expression, type RuleBook } from './grammar-text.js';
import { anyOf, choiceOf, sequenceOf, text, times, type Pattern } from './pattern.js';
import { patternRules } from './pattern-rules.js';
import { quoted, unsupported } from './refusals.js';
import { jsonForm, matching, unescaped } from './regex-grammar.js';
import { stringFormats } from './string-formats.js';

const hex = anyOf(
  characterSet([
    [0x30, 0x39],
    [0x41, 0x46],
    [0x61, 0x66],
  ]),
);
/** A character of a string. No escape says half of a surrogate pair, so that each escape is one character. */
const character: Pattern = choiceOf([
  anyOf(unescaped),
  sequenceOf([
    text('\\'),
    choiceOf([
      anyOf(charactersOf('"\\/bfnrt')),
      sequenceOf([text('u'), anyOf(charactersOf('0123456789abcefABCEF')), times(hex, 3, 3)]),
      sequenceOf([text('u'), anyOf(charactersOf('dD')), anyOf(charactersOf('01234567')), times(hex, 2, 2)]),
    ]),
  ]),
]);

/**
 * Strings up to so many characters have rules for each: then masks are known beforehand, which else are looked for token by
 * token (docs/performance.md). Longer ones would take as long to compile.
 */
const countedByStates = 64;

function inQuotes(pattern: Pattern): Pattern {
  return sequenceOf([text('"'), pattern, text('"')]);
}

/** A string of so many characters. */
export function plainString(book: RuleBook, min: number, max: number): Expression {
  if (min === 0 && max === Infinity)
    return book.once('string', () => patternRules(inQuotes(times(character, 0, Infinity)), book, []));
  if (Math.max(min, max === Infinity ? 0 : max) <= countedByStates)
    return book.once(`string-${min}-${max}`, () =>
      patternRules(inQuotes(times(character, min, max)), book, []),
    );
  const one = book.once('char', () => patternRules(character, book, []));
  return book.add(sequence(quoteMark, repeated(one, min, Math.min(max, limits.repetitionsMax)), quoteMark));
}

/** A string in which the pattern matches a part. @throws ButterflyError REQUEST_INVALID, REQUEST_UNSUPPORTED */
export function matchingString(pattern: string, book: RuleBook, path: Path): Expression {
  return patternRules(inQuotes(matching(pattern, { path, form: jsonForm, isWhole: false })), book, path);
}

/** A string of a format. @throws ButterflyError REQUEST_UNSUPPORTED for one that we do not know */
export function formattedString(format: Json, book: RuleBook, path: Path): Expression {
  const name = typeof format === 'string' ? format : JSON.stringify(format);
  const source = stringFormats.get(name);
  if (source === undefined)
    throw unsupported(
      path,
      `answers are held to the formats ${[...stringFormats.keys()].join(', ')}; ${quoted(name)} is none of them.`,
    );
  return book.once(`format-${name}`, () =>
    patternRules(inQuotes(matching(source, { path, form: jsonForm, isWhole: true })), book, path),
  );
}
