import { fileURLToPath } from 'node:url';
import { silentLogger } from '@butterfly/common';
import { loadGgml, loadVocabulary } from '@butterfly/ggml';
import { cachedSyntheticModel, openOracle } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';

/** Assigned code points of all planes, in lines of mixed neighbours: every script, symbols and emoji. */
function everyScript(): string[] {
  const lines: string[] = [];
  for (let start = 0x20; start < 0x3_2000; start += 0x40) {
    const points = Array.from({ length: 0x40 }, (_, i) => start + i);
    const line = points
      .map((point) => String.fromCodePoint(point))
      .filter((text) => /^[^\p{Cn}\p{Cs}]$/u.test(text));
    if (line.length > 0) lines.push(line.join(''), line.join(' '));
  }
  return lines;
}

const corpus = [
  '',
  ' ',
  '   leading and trailing   ',
  'Once upon a time, there was a little butterfly.',
  "I'll say it's 3,14159 or 1e-9 — isn't it?\r\n\ttabs\tand\n\n\nnewlines",
  'Straße, naïve, São Paulo, Dvořák, Łódź, İstanbul, ﬁligree',
  'Привет мир. Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया. 你好，世界。こんにちは世界。안녕 세상아. สวัสดีชาวโลก.',
  '👩‍👩‍👧‍👦 🦋🏳️‍🌈 👍🏽 🇩🇪 ☺️ 1️⃣',
  'e\u0301 = é; \u200b\u200d\ufeff\u00ad\u202e',
  Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join('') + '\u007f\u0080\u009f',
  '<s>[INST] <<SYS>> </s> <unk> <0x41> <|im_start|>user\nhi<|im_end|> <|endoftext|>',
  'function f(x) { return x ** 2; } // αβγ',
  'a'.repeat(2000),
  ...everyScript(),
];

const shape = {
  layers: 1,
  hidden: 64,
  heads: 2,
  kvHeads: 2,
  headSize: 32,
  feedForward: 64,
  vocabulary: 3000,
  tiedEmbeddings: true,
  type: 'F32',
  seed: 3,
  contextTrained: 64,
} as const;
const models: Readonly<Record<string, () => Promise<string>>> = {
  'the trained model': () =>
    Promise.resolve(
      fileURLToPath(new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url)),
    ),
  'a SentencePiece vocabulary': () =>
    cachedSyntheticModel({ ...shape, architecture: 'llama' }, '/tmp/butterfly-synthetic'),
  'a byte-pair vocabulary': () =>
    cachedSyntheticModel({ ...shape, architecture: 'qwen2' }, '/tmp/butterfly-synthetic'),
};

describe('token ids equal those of llama.cpp', () => {
  it.each(Object.keys(models))('for %s', async (name) => {
    const path = (await models[name]?.()) ?? '';
    await using oracle = await openOracle(path, { threads: 1, contextTokens: 256 });
    using vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), path);
    for (const text of corpus)
      for (const parseSpecial of [false, true])
        expect(
          [...vocabulary.tokenize(text, { addSpecial: false, parseSpecial })],
          JSON.stringify(text),
        ).toEqual(oracle.tokenize(text, parseSpecial));
    expect(corpus.length).toBeGreaterThan(500);
  });
});
