import { ensure } from '@butterfly/common';
import type { MetadataEntry } from './gguf-encoder.js';
import { createRandom } from './random.js';

/** Room for the special tokens, all bytes and some pieces. */
export const vocabularyMin = 300;

/** Token types of llama.h. */
const tokenTypes = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

/** Pieces that real text uses, each the concatenation of two earlier ones or of letters. */
const commonPieces =
  'th he the in er an re on at en nd ti es or te of ed is it al ar st to nt ng ing se ha as ou io le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ent and ion ver her all ter hat tha his ere for'.split(
    ' ',
  );
const otherScripts = 'éèüößñçàåøžłабвгдеиклмнорстαβγδелשםא中文字日本語かな한국어हिन्दीعربي€–“”…🙂🚀'; // one code point each
const ascii = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index));
/** Letters first: they are what the smallest vocabularies have room for. */
const characters = Array.from(
  new Set(Array.from(['etaoinshrdlucmfwypvbgkqjxz', ".,'!?-0123456789", ...ascii, otherScripts].join(''))),
);
const pieceLengthMax = 14;

/** A tokenizer for a model, as metadata of its GGUF file. */
export function syntheticTokenizer(kind: 'llama' | 'gpt2', size: number): Record<string, MetadataEntry> {
  ensure(
    size >= vocabularyMin,
    () => `a vocabulary of ${size} tokens is too small: it takes at least ${vocabularyMin}`,
  );
  return kind === 'llama' ? sentencePiece(size) : bytePair(size);
}

/** As `llama` models have: bytes as fallback, pieces with scores, `▁` for the space. */
function sentencePiece(size: number): Record<string, MetadataEntry> {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  );
  const heads = ['<unk>', '<s>', '</s>', ...bytes];
  const singles = ['▁', ...characters].slice(0, size - heads.length);
  const pieces = growPieces(singles, '▁', size - heads.length).map(({ piece }) => piece);
  const types = [
    tokenTypes.unknown,
    tokenTypes.control,
    tokenTypes.control,
    ...bytes.map(() => tokenTypes.byte),
    ...pieces.map(() => tokenTypes.normal),
  ];
  return {
    'tokenizer.ggml.model': { type: 'string', value: 'llama' },
    'tokenizer.ggml.pre': { type: 'string', value: 'default' },
    'tokenizer.ggml.tokens': { type: 'strings', value: [...heads, ...pieces] },
    // The earlier piece merges first, as after training.
    'tokenizer.ggml.scores': {
      type: 'f32s',
      value: [...heads.map(() => 0), ...pieces.map((_, index) => -index)],
    },
    'tokenizer.ggml.token_type': { type: 'i32s', value: types },
    'tokenizer.ggml.bos_token_id': { type: 'u32', value: 1 },
    'tokenizer.ggml.eos_token_id': { type: 'u32', value: 2 },
    'tokenizer.ggml.unknown_token_id': { type: 'u32', value: 0 },
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
    'tokenizer.ggml.add_eos_token': { type: 'bool', value: false },
  };
}

/** As `qwen2` models have: an alphabet of bytes, ranked merges, special tokens at the end. */
function bytePair(size: number): Record<string, MetadataEntry> {
  const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
  const alphabet = byteAlphabet();
  const space = alphabet[32] ?? ' ';
  const pieces = growPieces(alphabet, space, size - specials.length);
  const tokens = [...pieces.map(({ piece }) => piece), ...specials];
  const [endOfText, , endOfTurn] = specials.map((text) => tokens.indexOf(text));
  return {
    'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
    'tokenizer.ggml.pre': { type: 'string', value: 'qwen2' },
    'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
    'tokenizer.ggml.token_type': {
      type: 'i32s',
      value: tokens.map((_, index) => (index < pieces.length ? tokenTypes.normal : tokenTypes.control)),
    },
    'tokenizer.ggml.merges': {
      type: 'strings',
      value: pieces.flatMap(({ parts }) => (parts ? [parts.join(' ')] : [])),
    },
    'tokenizer.ggml.bos_token_id': { type: 'u32', value: endOfText ?? 0 },
    'tokenizer.ggml.eos_token_id': { type: 'u32', value: endOfTurn ?? 0 },
    'tokenizer.ggml.padding_token_id': { type: 'u32', value: endOfText ?? 0 },
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: false },
  };
}

/** GPT-2's printable stand-in for each byte. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let stand = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : stand++));
}

interface Piece {
  readonly piece: string;
  /** What it merges from; null for a single character. */
  readonly parts: readonly [string, string] | null;
}

/** Adds pieces to single characters, common ones first and then made-up ones, each a merge of two earlier ones. */
function growPieces(singles: readonly string[], space: string, size: number): Piece[] {
  const pieces: Piece[] = singles.map((piece) => ({ piece, parts: null }));
  const known = new Set(singles);
  const add = (left: string, right: string): void => {
    const piece = left + right;
    const mergeable = known.has(left) && known.has(right) && !right.startsWith(space) && !known.has(piece);
    if (!mergeable || piece.length > pieceLengthMax || pieces.length >= size) return;
    known.add(piece);
    pieces.push({ piece, parts: [left, right] });
  };
  for (const piece of commonPieces) {
    add(piece.slice(0, -1), piece.slice(-1));
    add(piece.slice(0, 1), piece.slice(1));
    add(space, piece);
  }
  const letters = singles.filter((single) => single === space || /^[a-z]$/u.test(single));
  const random = createRandom(`vocabulary of ${size}`);
  // Half from the single letters: else the made-up pieces would only grow longer.
  const pick = (): string =>
    random.below(2) === 0
      ? (letters[random.below(letters.length)] ?? '')
      : (pieces[random.below(pieces.length)]?.piece ?? '');
  while (pieces.length < size) add(pick(), pick());
  return pieces;
}
