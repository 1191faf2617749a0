import { charactersOf, characterSet, type CharacterSet } from '../automata/character-set.js';

/** A regular language of texts. */
export type Pattern =
  | { readonly kind: 'characters'; readonly set: CharacterSet }
  | { readonly kind: 'sequence'; readonly parts: readonly Pattern[] }
  | { readonly kind: 'choice'; readonly options: readonly Pattern[] }
  | { readonly kind: 'repeat'; readonly part: Pattern; readonly min: number; readonly max: number };

/** Exactly this text. */
export function text(exactly: string): Pattern {
  return sequenceOf(Array.from(exactly, (character) => anyOf(charactersOf(character))));
}

export function anyOf(set: CharacterSet): Pattern {
  return { kind: 'characters', set };
}

export function digits(first: number, last: number): Pattern {
  return anyOf(characterSet([[0x30 + first, 0x30 + last]]));
}

export function sequenceOf(parts: readonly Pattern[]): Pattern {
  const [only] = parts;
  return only && parts.length === 1 ? only : { kind: 'sequence', parts };
}

/** One of them; nothing at all where there is none, so that nothing matches. */
export function choiceOf(options: readonly Pattern[]): Pattern {
  const [only] = options;
  return only && options.length === 1 ? only : { kind: 'choice', options };
}

/** @param max Infinity for as often as one likes */
export function times(part: Pattern, min: number, max: number): Pattern {
  return min === 1 && max === 1 ? part : { kind: 'repeat', part, min, max };
}

export function maybe(part: Pattern): Pattern {
  return times(part, 0, 1);
}
