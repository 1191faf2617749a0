import { limits } from '@butterfly/common';
import type { Constraint, Marker, Path, Tag } from './constraint.js';
import { choice, literal, nothing, sequence, type Expression, type RuleBook } from './grammar-text.js';
import { invalid } from './refusals.js';
import { holdsMarkerEnds } from './regex-grammar.js';

type Tags = Extract<Constraint, { kind: 'tags' }>;

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

function textOf(marker: Marker, path: Path): string {
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
