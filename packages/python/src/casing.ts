/** A letter that has case, as Python's `isupper`, `islower` and `title` count them. */
const cased = /[\p{Lu}\p{Ll}\p{Lt}]/u;

/** Python's `str.title`: the first letter of each run of letters. */
export function titled(value: string): string {
  let isInWord = false;
  return Array.from(value, (character) => {
    const isLetter = cased.test(character);
    const result = !isLetter ? character : isInWord ? character.toLowerCase() : character.toUpperCase();
    isInWord = isLetter;
    return result;
  }).join('');
}

export function capitalized(value: string): string {
  const [first = ''] = value;
  return first.toUpperCase() + value.slice(first.length).toLowerCase();
}

export const isLower = (value: string): boolean => cased.test(value) && !/[\p{Lu}\p{Lt}]/u.test(value);
export const isUpper = (value: string): boolean => cased.test(value) && !/[\p{Ll}\p{Lt}]/u.test(value);

export function swapped(value: string): string {
  return Array.from(value, (character) =>
    /\p{Lu}/u.test(character) ? character.toLowerCase() : character.toUpperCase(),
  ).join('');
}
