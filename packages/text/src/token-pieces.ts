import type { Vocabulary } from '@butterfly/ggml';

/** What the tokens of a vocabulary stand for in answers, in one piece of memory. */
export interface TokenPieces {
  /** Bytes of all tokens, one after the other. */
  readonly bytes: Uint8Array;
  /** Where each token begins in `bytes`, and where the last one ends: one more than there are tokens. */
  readonly offsets: Uint32Array;
  /** 1 for tokens that have no text in an answer: control tokens and unknown ones. */
  readonly isSpecial: Uint8Array;
  /** Tokens that end an answer, ascending. */
  readonly stopTokens: Int32Array;
}

/** All pieces of a vocabulary; some milliseconds for each ten thousand tokens. */
export function tokenPieces(
  vocabulary: Pick<Vocabulary, 'size' | 'specialTokens' | 'endOfGenerationTokens' | 'tokenToBytes'>,
): TokenPieces {
  const { size, specialTokens, endOfGenerationTokens } = vocabulary;
  const pieces = Array.from({ length: size }, (_, token) =>
    vocabulary.tokenToBytes(token, { special: false }),
  );
  const offsets = new Uint32Array(size + 1);
  for (const [token, piece] of pieces.entries()) offsets[token + 1] = (offsets[token] ?? 0) + piece.length;
  const bytes = new Uint8Array(offsets[size] ?? 0);
  for (const [token, piece] of pieces.entries()) bytes.set(piece, offsets[token]);
  const isSpecial = new Uint8Array(size);
  // Tokens that the model's makers added by hand have a text like any other.
  for (const { token, isAlwaysRead } of specialTokens) if (!isAlwaysRead) isSpecial[token] = 1;
  const stopTokens = Int32Array.from([...endOfGenerationTokens].sort((a, b) => a - b));
  return { bytes, offsets, isSpecial, stopTokens };
}
