import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { computeInvalid, ggml } from '../testing/graphs.js';
import type { Vocabulary } from './vocabulary-types.js';
import { loadVocabulary } from './vocabulary.js';

const path = fileURLToPath(new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url));
const invalid = expect.objectContaining(computeInvalid) as Error;

const corpus: readonly string[] = [
  'Once upon a time, there was a little girl named Lily.',
  '  leading, double  and trailing spaces  ',
  'tabs\tand\nnewlines\r\n\n\nand none',
  'The naïve café: “quotes” — dashes … ellipsis',
  'Ελληνικά, Русский язык, Հայերեն, ქართული',
  'עברית עם ניקוד שָׁלוֹם, العربية مُشَكَّلَة, فارسی',
  'हिन्दी, বাংলা, தமிழ், తెలుగు, മലയാളം, ไทย, ລາວ, မြန်မာ, ខ្មែរ',
  '中文汉字,日本語のひらがなとカタカナ,한국어',
  'አማርኛ, ᓀᐦᐃᔭᐍᐏᐣ, ᚠᚢᚦᚨᚱᚲ, 𓀀𓂀, 𐍈, 𝒜𝓁𝓁',
  '😀 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ☕️',
  'e\u0301 is not é, a\u0328\u0301, Z̷̢̛a̵l̶g̸o̷',
  '\u0000\u0001\u0007\u001b[31m\u007f\u0080\u200b\u200d\ufeff\u2028\ufffd',
  '1234567890 3.14159 -1e-9 0xdeadbeef 1,000,000',
  'for (let i = 0; i < n; i++) { a[i] ??= `${b}`; } // ok\n\tif x:\n\t\treturn None',
  '<s></s><unk><0x41><|im_start|>[INST] <<SYS>>',
  'x'.repeat(5000),
  ' '.repeat(300),
  '\u{10ffff}\u{10000}\uffff',
];

let vocabulary: Vocabulary;
let folder: string;
beforeAll(() => {
  vocabulary = loadVocabulary(ggml, path);
  folder = mkdtempSync(join(tmpdir(), 'butterfly-vocabulary-'));
});
afterAll(() => {
  vocabulary[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const bytesOf = (tokens: Iterable<number>, special = false): Buffer =>
  Buffer.concat([...tokens].map((token) => vocabulary.tokenToBytes(token, { special })));

/** What comes back after a way through the tokens; the space that the tokenizer puts before all is taken off. */
function roundTrip(text: string): Buffer {
  const bytes = bytesOf(vocabulary.tokenize(text, { addSpecial: false, parseSpecial: false }));
  return bytes[0] === 0x20 ? bytes.subarray(1) : bytes;
}

describe('the vocabulary of a model', () => {
  it('knows its size and special tokens', () => {
    expect(vocabulary.size).toBe(512);
    expect(vocabulary).toMatchObject({ bos: 1, eos: 2, addsBos: true });
    expect([...vocabulary.endOfGenerationTokens]).toContain(2);
    expect([0, 1, 2].map((token) => vocabulary.tokenText(token))).toEqual(['<unk>', '<s>', '</s>']);
  });

  it.each(corpus)('gives back %j byte by byte', (text) => {
    expect(roundTrip(text)).toEqual(Buffer.from(text));
  });

  it('gives back any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(roundTrip(text)).toEqual(Buffer.from(text));
      }),
      { numRuns: 300 },
    );
  });

  it('replaces half a surrogate pair, which has no bytes', () => {
    expect(roundTrip('a\ud800b').toString()).toBe('a\ufffdb');
  });

  it('makes no token of nothing, and BOS where it is asked to', () => {
    expect([...vocabulary.tokenize('', { addSpecial: false, parseSpecial: false })]).toEqual([]);
    expect([...vocabulary.tokenize('', { addSpecial: true, parseSpecial: false })]).toEqual([1]);
    expect(vocabulary.tokenize('a', { addSpecial: true, parseSpecial: false })[0]).toBe(1);
  });

  it('reads special tokens out of the text only when asked to', () => {
    const text = '</s>';
    expect([...vocabulary.tokenize(text, { addSpecial: false, parseSpecial: true })]).toEqual([2]);
    const plain = vocabulary.tokenize(text, { addSpecial: false, parseSpecial: false });
    expect(plain).not.toContain(2);
    expect(bytesOf(plain).toString().trimStart()).toBe(text);
  });

  it('writes special tokens only when asked to', () => {
    expect(bytesOf([1, 2]).toString()).toBe('');
    expect(bytesOf([1, 2], true).toString()).toBe('<s></s>');
  });

  it('has every byte as a token', () => {
    const all = new Set(
      Array.from({ length: vocabulary.size }, (_, token) => bytesOf([token]).toString('hex')),
    );
    for (let byte = 0; byte < 256; byte++) expect(all).toContain(byte.toString(16).padStart(2, '0'));
  });

  it.each([-1, 512, 2 ** 31, 1.5, NaN])('refuses token %d', (token) => {
    expect(() => vocabulary.tokenText(token)).toThrow(invalid);
    expect(() => vocabulary.tokenToBytes(token, { special: true })).toThrow(invalid);
  });

  it('refuses all use after it is disposed, which may be done twice', () => {
    const other = loadVocabulary(ggml, path);
    other[Symbol.dispose]();
    other[Symbol.dispose]();
    const uses = [
      () => other.tokenize('a', { addSpecial: false, parseSpecial: false }),
      () => other.tokenToBytes(5, { special: false }),
      () => other.tokenText(5),
    ];
    for (const use of uses) expect(use).toThrow(invalid);
    expect(vocabulary.tokenText(1)).toBe('<s>');
  });
});

describe('loadVocabulary', () => {
  const refused = (bytes: Uint8Array): unknown => {
    const file = join(folder, 'broken.gguf');
    writeFileSync(file, bytes);
    try {
      loadVocabulary(ggml, file)[Symbol.dispose]();
      return null;
    } catch (error) {
      return error;
    }
  };

  it('says so when there is no file', () => {
    expect(() => loadVocabulary(ggml, join(folder, 'none.gguf'))).toThrow(
      expect.objectContaining({ code: 'MODEL_NOT_FOUND' }),
    );
  });

  it('refuses a folder', () => {
    expect(() => loadVocabulary(ggml, folder)).toThrow(expect.objectContaining({ code: 'MODEL_CORRUPT' }));
  });

  it.each([0, 3, 4, 24, 1000, 5000])('refuses a file that ends after %i bytes', (bytes) => {
    expect(refused(readFileSync(path).subarray(0, bytes))).toMatchObject({ code: 'MODEL_CORRUPT' });
  });

  it('refuses another kind of file, and metadata that is none', () => {
    expect(refused(Buffer.from('a text, not a model\n'.repeat(100)))).toMatchObject({
      code: 'MODEL_CORRUPT',
    });
    const noise = Buffer.alloc(4096, 0xff);
    noise.write('GGUF');
    expect(refused(noise)).toMatchObject({ code: 'MODEL_CORRUPT' });
  });

  it('says what libllama found, in the error alone', () => {
    const bytes = readFileSync(path);
    const key = bytes.indexOf('tokenizer.ggml.model');
    // Behind the key: its type (4 bytes), the length of the text (8 bytes), the text.
    bytes.write('xlama', key + 'tokenizer.ggml.model'.length + 12);
    expect(refused(bytes)).toMatchObject({
      code: 'MODEL_CORRUPT',
      message: expect.stringContaining("unknown tokenizer: 'xlama'") as string,
    });
  });
});
