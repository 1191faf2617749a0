import { limits } from './limits.js';

const plainName = new RegExp(`^[\\w$.-]{1,${limits.fieldNameCharactersMax}}$`);

/** A word of the client as headers and messages may repeat it. */
export const shownWord = (word: string): string => (plainName.test(word) ? word : '(another)');
