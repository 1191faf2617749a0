import type { TokenTable } from '@butterfly/wire';

/** Some pieces of JSON, of texts and of halves of characters. */
const pieces = [
  '{"',
  '": ',
  '", "',
  '"}',
  'true',
  'null',
  '\n  ',
  'name',
  '12',
  '-',
  '.5',
  'ß',
  '😀',
  'the ',
  '],[',
];

/**
 * A vocabulary of all bytes, some longer pieces, two special tokens and one that ends answers, which are the last.
 * @param more pieces, before the special tokens
 */
export function byteVocabulary(more: readonly string[] = []): TokenTable {
  const encoder = new TextEncoder();
  const texts = [
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...[...pieces, ...more].map((piece) => encoder.encode(piece)),
    Uint8Array.of(0xf0, 0x9f),
    encoder.encode('<tool>'),
    encoder.encode('</tool>'),
    encoder.encode('</s>'),
  ];
  const offsets = new Uint32Array(texts.length + 1);
  for (const [token, text] of texts.entries()) offsets[token + 1] = (offsets[token] ?? 0) + text.length;
  const isSpecial = Uint8Array.from(texts, (_, token) => (token >= texts.length - 3 ? 1 : 0));
  return {
    bytes: Uint8Array.from(texts.flatMap((text) => [...text])),
    offsets,
    isSpecial,
    stopTokens: Int32Array.of(texts.length - 1),
  };
}
