import { silentLogger } from '@butterfly/common';
import { loadGgml, loadVocabulary } from '@butterfly/ggml';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeModel } from './model-file.js';
import { temporaryFolder, tinyRecipe } from './testing.js';
import { documents } from './text/documents.js';
import { learnPieces, reservedTokens, tokenizerMetadata } from './tokenizer.js';

function texts(count: number): string[] {
  const stream = documents('train', 3);
  return Array.from({ length: count }, () => stream.next().value).flatMap((one) =>
    one.kind === 'story' ? [one.text] : one.turns.map(({ content }) => content),
  );
}

const pieces = learnPieces(texts(200), 300);

/** Merges the two neighbours that make the earliest learnt piece, the leftmost first, until none do. */
function merged(text: string): string[] {
  const parts = Array.from(`▁${text.replaceAll(' ', '▁')}`);
  for (;;) {
    let best = { rank: Infinity, index: 0 };
    for (let index = 1; index < parts.length; index++) {
      const rank = pieces.indexOf(`${parts[index - 1] ?? ''}${parts[index] ?? ''}`);
      if (rank >= 0 && rank < best.rank) best = { rank, index };
    }
    if (best.index === 0) return parts;
    parts.splice(best.index - 1, 2, pieces[best.rank] ?? '');
  }
}

describe('the tokenizer', () => {
  it('learns pieces from frequent neighbours, characters first', () => {
    expect(learnPieces(['ab ab ab cab cd'], 8)).toEqual(['a', 'b', 'c', 'd', '▁', 'ab', '▁ab', '▁c']);
  });

  it('has distinct pieces, so many as were asked for', () => {
    expect(new Set(pieces).size).toBe(300);
  });

  it('is read by libllama as it was learnt, and loses no text', async () => {
    await using folder = await temporaryFolder();
    const path = folder.path('vocabulary.gguf');
    const shape = { ...tinyRecipe.shape, vocabulary: reservedTokens + pieces.length };
    await writeModel(path, { shape, tokenizer: tokenizerMetadata(pieces), weights: [] }, 'F32');
    using vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), path);
    const tokenize = (text: string): number[] => [
      ...vocabulary.tokenize(text, { addSpecial: false, parseSpecial: false }),
    ];
    for (const text of texts(20))
      expect(tokenize(text).map((token) => vocabulary.tokenText(token))).toEqual(merged(text));
    const decoder = new TextDecoder();
    // SentencePiece writes spaces as this character, so it alone cannot come back.
    const anyText = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('▁'));
    fc.assert(
      fc.property(anyText, (text) => {
        const bytes = tokenize(text).flatMap((token) => [
          ...vocabulary.tokenToBytes(token, { special: false }),
        ]);
        expect(decoder.decode(Uint8Array.from(bytes))).toBe(` ${text}`);
      }),
    );
    const chat = vocabulary.tokenize('<|user|>Hello!<|end|>', { addSpecial: true, parseSpecial: true });
    expect([chat[0], chat[1], chat.at(-1)].map((token) => vocabulary.tokenText(token ?? 0))).toEqual([
      '<s>',
      '<|user|>',
      '<|end|>',
    ]);
    expect([...vocabulary.endOfGenerationTokens].map((token) => vocabulary.tokenText(token)).sort()).toEqual([
      '</s>',
      '<|end|>',
    ]);
  });
});
