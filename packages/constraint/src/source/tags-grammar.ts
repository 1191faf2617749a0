import { limits } from '@butterfly/common';
import type { Constraint, Marker, Path, Tag } from './constraint.js';
import {
  choice,
  literal,
  nothing,
  repeated,
  sequence,
  type Expression,
  type RuleBook,
} from './grammar-text.js';
import { invalid } from './refusals.js';
import { holdsMarkerEnds } from './regex-grammar.js';

type Tags = Extract<Constraint, { kind: 'tags' }>;
type Either = Extract<Constraint, { kind: 'either' }>;

/** White space between calls, and between thoughts and what follows: layout, which belongs to none of them. */
const blanksMax = 2;

/** How the grammar writes a special token: no text of an answer has these characters. */
export function specialTokenText(token: number): string {
  return `\u0001${token}\u0002`;
}

/**
 * Free text with tags in it.
 * @param contentOf the expression of what a tag holds
 * @throws ButterflyError REQUEST_INVALID
 */
export function tagsGrammar(
  { tags, triggers, atLeastOne, stopsAfterFirst }: Tags,
  contentOf: (tag: Tag, path: Path) => Expression,
  book: RuleBook,
  path: Path,
): Expression {
  if (tags.length === 0 || triggers.length === 0 || tags.length > limits.constraintTagsMax)
    throw invalid(
      [...path, 'tags'],
      `must be from 1 to ${limits.constraintTagsMax}, with a trigger at least.`,
    );
  const starts = triggers.map((trigger, index) => textOf(trigger, [...path, 'triggers', index]));
  for (const [index, start] of starts.entries())
    if (start === '' || starts.some((other, at) => at !== index && other.startsWith(start)))
      throw invalid([...path, 'triggers', index], 'must not be empty, nor begin another one.');
  const groups = new Map<string, Expression[]>(starts.map((start) => [start, []]));
  const whole = tags.map((tag, index) => {
    const at = [...path, 'tags', index];
    const begin = textOf(tag.begin, [...at, 'begin']);
    const start = starts.find((each) => begin.startsWith(each));
    if (start === undefined) throw invalid([...at, 'begin'], 'must begin with one of the triggers.');
    const end = textOf(tag.end, [...at, 'end']);
    const inside = book.add(sequence(contentOf(tag, at), end === '' ? nothing : literal(end)));
    groups.get(start)?.push(sequence(begin === start ? nothing : literal(begin.slice(start.length)), inside));
    return sequence(literal(begin), inside);
  });
  const dispatched = [...groups]
    .filter(([, options]) => options.length > 0)
    .map(([start, options]) => `(${literal(start)}, ${book.add(choice(...options))})`);
  const free = (loops: boolean): Expression =>
    book.add(
      `TagDispatch(${dispatched.join(', ')}, stop_eos=true, stop_str=(), loop_after_dispatch=${loops})`,
    );
  if (!atLeastOne) return free(!stopsAfterFirst);
  const first = book.add(choice(...whole));
  return stopsAfterFirst ? first : sequence(first, free(true));
}

/**
 * A text of a form, or tags and nothing else.
 * @param textOfForm the expression of the text; null where there must be a tag
 * @throws ButterflyError REQUEST_INVALID
 */
export function eitherGrammar(
  { tags, isRepeated, behind }: Either,
  textOfForm: Expression | null,
  contentOf: (tag: Tag, path: Path) => Expression,
  book: RuleBook,
): Expression {
  if (tags.length === 0 || tags.length > limits.constraintTagsMax)
    throw invalid(['tags'], `must be from 1 to ${limits.constraintTagsMax}.`);
  const calls = tags.map((tag, index) => {
    const at = ['tags', index];
    const end = textOf(tag.end, [...at, 'end']);
    const inside = book.add(sequence(contentOf(tag, at), end === '' ? nothing : literal(end)));
    return sequence(literal(textOf(tag.begin, [...at, 'begin'])), inside);
  });
  const call = book.add(choice(...calls));
  const further = book.add(sequence(repeated('[ \\n]', 0, blanksMax), call));
  const row = isRepeated ? sequence(call, repeated(further, 0, Infinity)) : call;
  const answer = book.add(textOfForm === null ? row : choice(row, textOfForm));
  if (behind === null) return answer;
  const start = textOf(behind, ['behind']);
  if (start === '') throw invalid(['behind'], 'must not be empty.');
  const whole = book.add(sequence(repeated('[ \\n]', 0, blanksMax), answer));
  return book.add(
    `TagDispatch((${literal(start)}, ${whole}), stop_eos=true, stop_str=(), loop_after_dispatch=false)`,
  );
}

export function textOf(marker: Marker, path: Path): string {
  const text = marker
    .map((part) => {
      if (typeof part === 'number') return specialTokenText(part);
      if (holdsMarkerEnds(part)) throw invalid(path, 'must not hold the characters 1 or 2.');
      return part;
    })
    .join('');
  if (text.length > limits.tokenTextBytesMax)
    throw invalid(path, `has over ${limits.tokenTextBytesMax} characters.`);
  return text;
}
