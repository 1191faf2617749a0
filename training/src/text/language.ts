import { isChild, type Character, type Colour, type Thing } from './world.js';

/** A character with the words that refer to it. */
export interface Person extends Character {
  readonly he: string;
  readonly He: string;
  readonly him: string;
  readonly his: string;
  readonly His: string;
  /** "Finn the fox"; children go by their names. */
  readonly full: string;
  /** "a red coat", "black boots". */
  readonly aGarment: string;
}

export function person(character: Character): Person {
  const { name, kind, isFemale, garment } = character;
  return {
    ...character,
    he: isFemale ? 'she' : 'he',
    He: isFemale ? 'She' : 'He',
    him: isFemale ? 'her' : 'him',
    his: isFemale ? 'her' : 'his',
    His: isFemale ? 'Her' : 'His',
    full: isChild(character) ? name : `${name} the ${kind}`,
    aGarment: /(?:boots|glasses)$/u.test(garment) ? garment : withArticle(garment),
  };
}

/** A thing with a colour and the words that agree with its number. */
export interface Item {
  readonly thing: Thing;
  readonly colour: Colour;
  /** "red ball". */
  readonly words: string;
  /** "a red ball", "red boots". */
  readonly a: string;
  readonly was: string;
  readonly it: string;
  readonly subject: string;
  readonly Subject: string;
}

export function item(thing: Thing, colour: Colour): Item {
  const words = `${colour} ${thing.noun}`;
  const { isPlural } = thing;
  return {
    thing,
    colour,
    words,
    a: isPlural ? `some ${words}` : withArticle(words),
    was: isPlural ? 'were' : 'was',
    it: isPlural ? 'them' : 'it',
    subject: isPlural ? 'they' : 'it',
    Subject: isPlural ? 'They' : 'It',
  };
}

export function withArticle(words: string): string {
  return `${/^[aeiou]/u.test(words) ? 'an' : 'a'} ${words}`;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
