import type { Path } from './constraint.js';
import { charactersOf, difference, intersection } from '../automata/character-set.js';
import {
  choice,
  literal,
  nothing,
  repeated,
  sequence,
  type Expression,
  type RuleBook,
} from './grammar-text.js';
import { anyOf, choiceOf, maybe, sequenceOf, text, times, type Pattern } from './pattern.js';
import { patternRules } from './pattern-rules.js';
import { unescaped } from './regex-grammar.js';

/** A property of an object by name. */
export interface Property {
  readonly name: string;
  readonly value: Expression;
  readonly isRequired: boolean;
}

/** Blanks that may stand between parts of JSON: none, one, or a new line with its indentation. */
export function blank(book: RuleBook): Expression {
  return book.once('ws', () => '(" " | "\\n" [ ]{0,32})?');
}

/**
 * An object with these properties, in their order, each once, and others behind them.
 * @param others the value of any other property; null where there may be none
 * @throws ButterflyError REQUEST_UNSUPPORTED when other properties would have to be told from too many
 */
export function objectGrammar(
  properties: readonly Property[],
  others: Expression | null,
  book: RuleBook,
  path: Path,
): Expression {
  const ws = blank(book);
  const comma = sequence('","', ws);
  let first = nothing;
  let next = nothing;
  if (others !== null) {
    const names = properties.map((property) => property.name);
    const name = otherName(names, book, [...path, 'additionalProperties']);
    const other = book.add(sequence(name, '":"', ws, others));
    next = book.add(repeated(sequence(comma, other), 0, Infinity));
    first = book.add(choice(nothing, sequence(other, next)));
  }
  // From the last on: what may come where it is the first of the object, and where others stand before it.
  for (const { name, value, isRequired } of [...properties].reverse()) {
    const pair = book.add(sequence(literal(JSON.stringify(name)), '":"', ws, value));
    const said = sequence(pair, next);
    const saidBehind = sequence(comma, pair, next);
    first = book.add(isRequired ? said : choice(said, first));
    next = book.add(isRequired ? saidBehind : choice(saidBehind, next));
  }
  return book.add(sequence('"{"', ws, first, ws, '"}"'));
}

/** The quoted name of a property that is none of these, written without escapes, so that no name has two forms. */
function otherName(names: readonly string[], book: RuleBook, path: Path): Expression {
  return patternRules(sequenceOf([text('"'), unlike(names), text('"')]), book, path);
}

/** Any text without escapes but these. */
function unlike(texts: readonly string[]): Pattern {
  const behind = new Map<string, string[]>();
  for (const [first = '', ...rest] of texts.map((each) => Array.from(each)))
    if (first !== '') behind.set(first, [...(behind.get(first) ?? []), rest.join('')]);
  const others = difference(unescaped, charactersOf([...behind.keys()].join('')));
  const options = [
    sequenceOf([anyOf(others), times(anyOf(unescaped), 0, Infinity)]),
    // A text with a character that is always escaped is never written here.
    ...[...behind]
      .filter(([first]) => intersection(charactersOf(first), unescaped).length > 0)
      .map(([first, rests]) => sequenceOf([text(first), unlike(rests)])),
  ];
  return texts.includes('') ? choiceOf(options) : maybe(choiceOf(options));
}
