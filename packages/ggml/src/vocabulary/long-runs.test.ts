import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeGgufHeader } from '@butterfly/testkit';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cutLongRuns, recursesOverText, runCharactersMax } from './long-runs.js';
import { ggml } from '../testing/graphs.js';
import { loadVocabulary } from './vocabulary.js';

const none = (): readonly string[] => [];
const longest = (text: string): number =>
  Math.max(0, ...Array.from(text.matchAll(/[^\t\n\v\f\r ]+|\s+/g), ([run]) => run.length));

describe('cutting long runs', () => {
  it('leaves ordinary text whole, however long', () => {
    const text = 'Once upon a time, there was 中文。\n'.repeat(5000);
    expect(cutLongRuns(text, none)).toEqual([text]);
  });

  it('loses nothing, bounds every run and splits no code point', () => {
    const unit = fc.constantFrom(
      'a',
      '中',
      '🙂',
      ' ',
      '\n',
      '\u2003',
      '\ufeff',
      'x'.repeat(9000),
      '\u00a0'.repeat(9000),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(unit, fc.integer({ min: 1, max: 20_000 }))), (runs) => {
        const text = runs.map(([of, times]) => of.repeat(Math.ceil(times / of.length))).join('');
        const pieces = cutLongRuns(text, none);
        expect(pieces.join('')).toBe(text);
        for (const piece of pieces) {
          expect(longest(piece)).toBeLessThanOrEqual(runCharactersMax + 1);
          expect(Buffer.from(piece).toString() === piece).toBe(true);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('keeps special tokens whole', () => {
    const special = '<|im_end|>';
    const text = 'a'.repeat(runCharactersMax - 4) + special + 'b'.repeat(runCharactersMax);
    const [first, second] = cutLongRuns(text, () => ['<x>', special]);
    expect(first).toBe('a'.repeat(runCharactersMax - 4));
    expect(second?.startsWith(special)).toBe(true);
  });

  it('is for the pre-tokenizers that libllama has no loop for', () => {
    expect(['llama-bpe', 'qwen2', 'gpt-2', 'smollm'].filter(recursesOverText)).toEqual([]);
    expect(
      ['', 'default', 'tekken', 'gpt-4o', 'deepseek-v3', 'unheard-of'].filter(recursesOverText),
    ).toHaveLength(6);
  });
});

/** GPT-2's printable stand-ins for all bytes. */
const alphabet = Array.from({ length: 256 }, (_, byte) => byte)
  .filter((byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173))
  .map((byte) => String.fromCodePoint(byte))
  .concat(Array.from({ length: 68 }, (_, index) => String.fromCodePoint(256 + index)));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'butterfly-runs-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('a vocabulary whose text libllama splits by recursion', () => {
  // Each of these ended the process, at 10,000 to 16,000 characters.
  it.each(['tekken', 'deepseek-llm', 'viking', 'default'])(
    'of the kind %s takes runs of any length',
    (pre) => {
      const path = join(folder, `${pre}.gguf`);
      const tokens = [...alphabet, '<|end|>'];
      writeFileSync(
        path,
        encodeGgufHeader(
          {
            'general.architecture': { type: 'string', value: 'llama' },
            'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
            'tokenizer.ggml.pre': { type: 'string', value: pre },
            'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
            'tokenizer.ggml.token_type': {
              type: 'i32s',
              value: tokens.map((token) => (token === '<|end|>' ? 3 : 1)),
            },
            'tokenizer.ggml.merges': { type: 'strings', value: ['a b'] },
            'tokenizer.ggml.bos_token_id': { type: 'u32', value: 256 },
            'tokenizer.ggml.eos_token_id': { type: 'u32', value: 256 },
            'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
            'tokenizer.ggml.add_eos_token': { type: 'bool', value: true },
          },
          [],
        ),
      );
      using vocabulary = loadVocabulary(ggml, path);
      const bytesOf = (token: number): Uint8Array => vocabulary.tokenToBytes(token, { special: false });
      for (const unit of ['a', '中', '!', '\n', '\u2003']) {
        const text = unit.repeat(20_000);
        const tokens = vocabulary.tokenize(text, { addSpecial: true, parseSpecial: true });
        expect([tokens[0], tokens.at(-1)]).toEqual([256, 256]);
        expect(tokens).toHaveLength(Buffer.byteLength(text) + 2);
        const start = Buffer.concat([...tokens.subarray(1, 601)].map(bytesOf));
        expect(start.toString()).toBe(text.slice(0, 600 / Buffer.byteLength(unit)));
      }
    },
  );
});
