/**
 * What a terminal would obey instead of showing it: control characters of ASCII (C0, DEL) and Unicode (C1), and what
 * turns the direction of the text around it (Trojan Source, CVE-2021-42574). A new line and a tab are text, and so is the
 * carriage return of a Windows line end.
 */
const unprintable = /(?![\n\t])(?!\r\n)[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;
const unprintableInLine = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Text of any source as a terminal may get it: nothing in it moves the cursor, sets a title or the clipboard, or shows other
 * text than there is. What would is written as JSON writes it (`\u001b`), so that JSON stays the same value.
 */
export function printable(text: string): string {
  return text.replace(unprintable, escaped);
}

/** The same for what must stay one line or cell: new lines and tabs are escaped too. */
export function printableLine(text: string): string {
  return text.replace(unprintableInLine, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
