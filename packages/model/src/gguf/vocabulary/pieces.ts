import { tokenTypes, type RawVocabulary } from './raw-vocabulary.js';

/**
 * Bytes that libllama keeps for what the tokens of a byte-pair vocabulary stand for. llama_decode_text of llama-vocab.cpp
 * writes the whole token again for each character that stands for no byte.
 */
export function piecesBytes({ texts, typeOf }: RawVocabulary): number {
  let bytes = 0;
  for (const [token, text] of texts.entries()) {
    const foreign = typeOf(token) === tokenTypes.normal ? foreignCharacters(text) : 0;
    bytes += text.length + foreign * (text.length + foreignOverheadBytes);
  }
  return bytes;
}

/** `[UNK_BYTE_0x` with up to eight digits and `]`. */
const foreignOverheadBytes = 20;

/** How many characters of a text are not among the 256 that stand for bytes. */
function foreignCharacters(latin1: string): number {
  if (printableAscii.test(latin1)) return 0;
  let count = 0;
  for (const character of Buffer.from(latin1, 'latin1').toString())
    if (!standsForByte(character.codePointAt(0) ?? 0)) count++;
  return count;
}

const printableAscii = /^[!-~]*$/;

/** The alphabet of GPT-2: printable characters of Latin-1, and 68 others for the rest. */
function standsForByte(point: number): boolean {
  return (
    (point >= 0x21 && point <= 0x7e) ||
    (point >= 0xa1 && point <= 0xff && point !== 0xad) ||
    (point >= 0x100 && point <= 0x143)
  );
}
