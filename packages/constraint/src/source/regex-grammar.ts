import {
  characterSet,
  charactersOf,
  complement,
  difference,
  everyCharacter,
  intersection,
  union,
  type CharacterSet,
} from '../automata/character-set.js';
import type { Path } from './constraint.js';
import { anyOf, choiceOf, sequenceOf, text, times, type Pattern } from './pattern.js';
import { parsePattern } from './regex-parser.js';

/** What encloses the numbers of special tokens in the vocabulary of a grammar, and nothing else says. */
const markerEnds = characterSet([[0x01, 0x02]]);

/** Whether a text has a character that only special tokens have. */
export function holdsMarkerEnds(text: string): boolean {
  return intersection(charactersOf(text), markerEnds).length > 0;
}

/** How a character of the matched text is written in the answer. */
export type CharacterForm = (set: CharacterSet) => Pattern;

/** As it is. */
export const plainForm: CharacterForm = (set) => anyOf(difference(set, markerEnds));

const escapedAlways = union(characterSet([[0, 0x1f]]), charactersOf('"\\'));
/** What JSON strings hold as it is. */
export const unescaped = complement(escapedAlways);

/** As a JSON string holds it, quotes aside. */
export const jsonForm: CharacterForm = (set) => {
  const options: Pattern[] = [anyOf(intersection(set, unescaped))];
  for (const [first, last] of intersection(set, escapedAlways))
    for (let code = first; code <= last; code++)
      options.push(text(JSON.stringify(String.fromCodePoint(code)).slice(1, -1)));
  return choiceOf(options);
};

/**
 * Text of which an expression of ECMAScript matches the whole, or, as JSON schemas have it, a part.
 * @throws ButterflyError REQUEST_INVALID, REQUEST_UNSUPPORTED
 */
export function matching(
  source: string,
  { path, form, isWhole }: { readonly path: Path; readonly form: CharacterForm; readonly isWhole: boolean },
): Pattern {
  const written = (pattern: Pattern): Pattern => {
    switch (pattern.kind) {
      case 'characters':
        return form(pattern.set);
      case 'sequence':
        return sequenceOf(pattern.parts.map(written));
      case 'choice':
        return choiceOf(pattern.options.map(written));
      case 'repeat':
        return times(written(pattern.part), pattern.min, pattern.max);
      default:
        return pattern satisfies never;
    }
  };
  const anything = times(form(everyCharacter), 0, Infinity);
  return choiceOf(
    parsePattern(source, path).map(({ pattern, isAtStart, isAtEnd }) =>
      sequenceOf([
        ...(isWhole || isAtStart ? [] : [anything]),
        written(pattern),
        ...(isWhole || isAtEnd ? [] : [anything]),
      ]),
    ),
  );
}
