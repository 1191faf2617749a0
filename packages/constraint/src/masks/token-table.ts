import { ButterflyError, limits } from '@butterfly/common';
import type { TokenTable } from '@butterfly/wire';
import { specialTokenText } from '../source/tags-grammar.js';

/** @throws ButterflyError PROTOCOL_INVALID for a table that contradicts itself or is too large */
export function checkTable({ bytes, offsets, isSpecial, stopTokens }: TokenTable): void {
  const tokens = offsets.length - 1;
  const isRight =
    tokens >= 1 &&
    tokens <= limits.vocabularyTokensMax &&
    bytes.length <= limits.tokenPiecesBytesMax &&
    isSpecial.length === tokens &&
    offsets[0] === 0 &&
    offsets[tokens] === bytes.length &&
    offsets.every((offset, index) => index === 0 || offset >= (offsets[index - 1] ?? 0)) &&
    stopTokens.every((token) => token >= 0 && token < tokens);
  if (!isRight)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      'A vocabulary contradicts itself or is larger than any may be.',
    );
}

/** The printable character for each byte, as tokenizers of GPT-2's kind write it. */
const byteCharacters: readonly string[] = ((): string[] => {
  let next = 256;
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
})();

/** Texts as xgrammar wants them, in which any bytes can be said; a special token is what `specialTokenText` says. */
export function encodedTokens({ bytes, offsets, isSpecial, stopTokens }: TokenTable): string[] {
  const stops = new Set(stopTokens);
  const encoder = new TextEncoder();
  const encoded: string[] = [];
  for (let token = 0; token + 1 < offsets.length; token++) {
    const text = isSpecial[token]
      ? encoder.encode(specialTokenText(token))
      : bytes.subarray(offsets[token], offsets[token + 1]);
    // What ends an answer says nothing in it.
    encoded.push(stops.has(token) ? '' : Array.from(text, (byte) => byteCharacters[byte] ?? '').join(''));
  }
  return encoded;
}
