/**
 * Finds what makes llm_tokenizer_rwkv_session of llama-vocab.cpp run for ever: it starts again at the beginning of the
 * text when a byte begins tokens but none of them fits, so that each first byte must be a token of its own.
 * @param texts escaped, a character for each byte
 */
export function rwkvFault(texts: readonly string[]): {
  readonly problem: string | null;
  /** Whether some byte begins no token. */
  readonly needsUnknown: boolean;
} {
  const tokens = texts.map(unescapeRwkv);
  const single = new Set(tokens.filter((bytes) => bytes.length === 1).map(([byte]) => byte));
  const token = tokens.findIndex(([first]) => first !== undefined && !single.has(first));
  return {
    problem: token < 0 ? null : `has a token ${token} whose first byte is no token`,
    needsUnknown: single.size < 256,
  };
}

/** As llama_unescape_rwkv_token: `\t`, `\n`, `\r`, `\xNN`, and anything else after a backslash is itself. */
function unescapeRwkv(text: string): number[] {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '\\') {
      bytes.push(text.charCodeAt(at));
      continue;
    }
    const escaped = text[++at];
    if (escaped === undefined) break;
    if (escaped === 'x') {
      if (at + 2 < text.length) bytes.push((hexDigit(text, at + 1) * 16 + hexDigit(text, at + 2)) & 0xff);
      at += 2;
    } else bytes.push(escapes.get(escaped) ?? escaped.charCodeAt(0));
  }
  return bytes;
}

const escapes: ReadonlyMap<string, number> = new Map([
  ['t', 9],
  ['n', 10],
  ['r', 13],
]);

/** Of anything, as libllama takes it. */
function hexDigit(text: string, at: number): number {
  const code = text.charCodeAt(at);
  // Its characters are signed.
  const signed = code >= 128 ? code - 256 : code;
  return (signed >= 97 ? signed - 97 + 10 : signed - 48) & 0xff;
}
