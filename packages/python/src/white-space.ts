/** White space to Python, which differs from JavaScript's at both ends. */
export const space =
  '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
export const leadingSpace = new RegExp(`^${space}+`);
export const trailingSpace = new RegExp(`(?<!${space})${space}+$`);
export const onlySpace = new RegExp(`^${space}+$`);
export const spaces = new RegExp(`${space}+`, 'g');
