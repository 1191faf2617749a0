import type { MetadataEntry } from '@butterfly/testkit';
import { chatTemplate, chatTokens } from './text/documents.js';

/** Token types of llama.h. */
const tokenTypes = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

/** Stands for the space, as in SentencePiece. */
const space = '▁';

/** Where a piece ends at the latest: a word with its leading space, or another sign with its own. */
const wordPattern = /▁?(?:\p{L}+|[^\p{L}▁])|▁/gu;

export const specialTokens = {
  unknown: '<unk>',
  begin: '<s>',
  end: '</s>',
  ...{ user: chatTokens.user, assistant: chatTokens.assistant, endOfTurn: chatTokens.end },
} as const;

interface Word {
  readonly count: number;
  parts: string[];
}

/**
 * Learns pieces from text by byte pair encoding over characters (https://arxiv.org/abs/1508.07909): every character,
 * then again and again the most frequent pair of neighbours within a word.
 * @param count how many pieces to learn, characters included
 * @returns the pieces, the earliest learnt first
 */
export function learnPieces(texts: readonly string[], count: number): string[] {
  const words = countWords(texts);
  const pieces = [...new Set(words.flatMap(({ parts }) => parts))].sort();
  const known = new Set(pieces);
  while (pieces.length < count) {
    const best = mostFrequentPair(words);
    if (!best) break;
    const [left, right] = best;
    for (const word of words) word.parts = merged(word.parts, left, right);
    // Two pairs may make the same piece.
    if (known.has(left + right)) continue;
    known.add(left + right);
    pieces.push(left + right);
  }
  return pieces.slice(0, count);
}

function countWords(texts: readonly string[]): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts)
    for (const [word] of (space + text.replaceAll(' ', space)).matchAll(wordPattern))
      counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([word, count]) => ({ count, parts: Array.from(word) }));
}

function mostFrequentPair(words: readonly Word[]): [string, string] | null {
  const counts = new Map<string, number>();
  for (const { count, parts } of words)
    for (let index = 1; index < parts.length; index++) {
      const pair = `${parts[index - 1] ?? ''} ${parts[index] ?? ''}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  let best: string | null = null;
  let bestCount = 1;
  for (const [pair, count] of counts)
    if (count > bestCount || (count === bestCount && best !== null && pair < best)) {
      best = pair;
      bestCount = count;
    }
  const [left = '', right = ''] = best?.split(' ') ?? [];
  return best === null ? null : [left, right];
}

function merged(parts: readonly string[], left: string, right: string): string[] {
  const result: string[] = [];
  for (let index = 0; index < parts.length; index++) {
    const isPair = parts[index] === left && parts[index + 1] === right;
    result.push(isPair ? left + right : (parts[index] ?? ''));
    if (isPair) index++;
  }
  return result;
}

/** How many tokens come before the learnt pieces: special ones and one for each byte. */
export const reservedTokens = Object.keys(specialTokens).length + 256;

/** The tokenizer as metadata of a GGUF file; llama.cpp merges the piece with the highest score first. */
export function tokenizerMetadata(pieces: readonly string[]): Record<string, MetadataEntry> {
  const { unknown, begin, end, user, assistant, endOfTurn } = specialTokens;
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  );
  const tokens = [unknown, begin, end, ...bytes, user, assistant, endOfTurn, ...pieces];
  const typeOf = (token: string, index: number): number => {
    if (index >= reservedTokens) return tokenTypes.normal;
    if (token === unknown) return tokenTypes.unknown;
    return bytes.includes(token) ? tokenTypes.byte : tokenTypes.control;
  };
  const id = (token: string): MetadataEntry => ({ type: 'u32', value: tokens.indexOf(token) });
  return {
    'tokenizer.ggml.model': { type: 'string', value: 'llama' },
    'tokenizer.ggml.pre': { type: 'string', value: 'default' },
    'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
    'tokenizer.ggml.scores': {
      type: 'f32s',
      value: tokens.map((_, index) => Math.min(0, reservedTokens - index)),
    },
    'tokenizer.ggml.token_type': { type: 'i32s', value: tokens.map(typeOf) },
    'tokenizer.ggml.unknown_token_id': id(unknown),
    'tokenizer.ggml.bos_token_id': id(begin),
    'tokenizer.ggml.eos_token_id': id(end),
    'tokenizer.ggml.eot_token_id': id(endOfTurn),
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
    'tokenizer.ggml.add_eos_token': { type: 'bool', value: false },
    'tokenizer.chat_template': { type: 'string', value: chatTemplate },
  };
}
