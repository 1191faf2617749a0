import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ErrorCode } from '@butterfly/common';
import { type MetadataEntry, encodeGgufHeader } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openGguf } from '../gguf-file.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-vocabulary-'));
});
afterAll(() => rm(folder, { recursive: true }));

const bytes = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);
const escaped = Array.from({ length: 256 }, (_, byte) => `\\x${byte.toString(16).padStart(2, '0')}`);

interface Tokenizer {
  readonly kind: string;
  readonly tokens: readonly string[];
  readonly types?: readonly number[];
  readonly more?: Readonly<Record<string, MetadataEntry>>;
}

async function open({ kind, tokens, types, more = {} }: Tokenizer): Promise<unknown> {
  const path = join(folder, 'tokenizer.gguf');
  const header = encodeGgufHeader(
    {
      'tokenizer.ggml.model': { type: 'string', value: kind },
      'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
      ...(types && { 'tokenizer.ggml.token_type': { type: 'i32s', value: types } }),
      ...more,
    },
    [],
  );
  await writeFile(path, header);
  return openGguf(path).then(
    () => 'accepted',
    (thrown: unknown) => thrown,
  );
}

const without = (text: string): string[] => bytes.filter((byte) => byte !== text);
const string = (value: string): MetadataEntry => ({ type: 'string', value });

describe('a vocabulary', () => {
  it.each<[string, Tokenizer]>([
    ['SentencePiece', { kind: 'llama', tokens: ['<unk>', ...bytes, 'a'] }],
    [
      'SentencePiece, a byte of which is a token as it is',
      { kind: 'llama', tokens: ['A', ...without('<0x41>')] },
    ],
    ['SentencePiece, without bytes that UTF-8 does not have', { kind: 'llama', tokens: without('<0xFF>') }],
    ['byte-pair', { kind: 'gpt2', tokens: ['a', 'b', 'Ġ', '中'] }],
    ['byte-pair, with a token without text', { kind: 'gpt2', tokens: ['a', '', 'b'] }],
    [
      'WordPiece',
      {
        kind: 'bert',
        tokens: ['[PAD]', '[UNK]'],
        more: { 'tokenizer.ggml.unknown_token_id': { type: 'u32', value: 1 } },
      },
    ],
    ['unigram', { kind: 't5', tokens: ['<pad>', '</s>', '<unk>'] }],
    ['RWKV', { kind: 'rwkv', tokens: ['<s>', ...escaped, 'hello'] }],
    ['PLaMo-2', { kind: 'plamo2', tokens: ['<unk>', ...bytes, '中日'] }],
  ])('of the kind %s is accepted', async (_, tokenizer) => {
    expect(await open(tokenizer)).toBe('accepted');
  });

  // Each of these ended the process, or kept it busy for ever, when the file was loaded or some text tokenized.
  it.each<[string, Tokenizer, ErrorCode, string]>([
    [
      'two tokens of one text',
      { kind: 'gpt2', tokens: ['a', 'b', 'a'] },
      'MODEL_CORRUPT',
      '"a" twice, as tokens 0 and 2',
    ],
    [
      'two tokens of one text before a NUL',
      { kind: 'gpt2', tokens: ['a\0b', 'a\0c'] },
      'MODEL_CORRUPT',
      '"a" twice',
    ],
    [
      'a token of the name of an empty one',
      { kind: 'gpt2', tokens: ['[EMPTY_1]', ''] },
      'MODEL_CORRUPT',
      '[EMPTY_1]',
    ],
    ['no tokens', { kind: 'gpt2', tokens: [] }, 'MODEL_CORRUPT', 'has no tokens'],
    [
      'an endless token',
      { kind: 't5', tokens: ['<pad>', '</s>', '<unk>', 'x'.repeat(5000)] },
      'MODEL_CORRUPT',
      'token 3 of 5000 bytes',
    ],
    [
      'a missing byte',
      { kind: 'llama', tokens: ['▁', ...without('<0xF0>')] },
      'MODEL_UNSUPPORTED',
      'lacks the byte tokens <0xF0>',
    ],
    ['no NUL', { kind: 'llama', tokens: without('<0x00>') }, 'MODEL_UNSUPPORTED', '<0x00>'],
    [
      'no bytes',
      { kind: 'llama', tokens: ['<unk>', '▁', 'a'] },
      'MODEL_UNSUPPORTED',
      '<0x00>, <0x01>, <0x02>, <0x03> and 237 others',
    ],
    [
      'a byte token of WordPiece',
      { kind: 'bert', tokens: ['[UNK]', '<0x41>'], types: [2, 6] },
      'MODEL_CORRUPT',
      'has a byte token (1)',
    ],
    ['no unknown token of WordPiece', { kind: 'bert', tokens: ['a'] }, 'MODEL_CORRUPT', 'no unknown token'],
    [
      'no unknown token of a unigram model',
      { kind: 't5', tokens: ['a', 'b'] },
      'MODEL_CORRUPT',
      'no unknown token',
    ],
    [
      'RWKV tokens that begin with no token',
      { kind: 'rwkv', tokens: ['a', 'hello'] },
      'MODEL_CORRUPT',
      'token 1 whose first byte',
    ],
    ['RWKV without all bytes', { kind: 'rwkv', tokens: ['a', '\\n'] }, 'MODEL_CORRUPT', 'no unknown token'],
    [
      'a long token of PLaMo-2',
      { kind: 'plamo2', tokens: ['x'.repeat(300)] },
      'MODEL_CORRUPT',
      'token 0 of 300 bytes',
    ],
    ['a dummy', { kind: 'test', tokens: ['a'] }, 'MODEL_UNSUPPORTED', 'kind "test"'],
    ['DNA', { kind: 'hybriddna', tokens: ['a', '<oov>', '\ue000'] }, 'MODEL_UNSUPPORTED', 'kind "hybriddna"'],
    [
      'spaces kept',
      { kind: 'gpt2', tokens: ['a'], more: { 'tokenizer.ggml.pre': string('whitespace') } },
      'MODEL_UNSUPPORTED',
      'rule "whitespace"',
    ],
    [
      'tokens that stand for gigabytes',
      { kind: 'gpt2', tokens: Array.from({ length: 400 }, (_, index) => `${index}${'中'.repeat(330)}`) },
      'MODEL_CORRUPT',
      'stand for more than',
    ],
  ])('with %s is refused', async (_, tokenizer, code, message) => {
    expect(await open(tokenizer)).toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
  });
});
