import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeGgufHeader } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ggml } from '../testing/graphs.js';
import { loadVocabulary } from './vocabulary.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'butterfly-infill-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A vocabulary of some letters and these markers, which begin at token 4. */
function withMarkers(markers: readonly string[]): ReturnType<typeof loadVocabulary> {
  const path = join(folder, 'model.gguf');
  const tokens = ['a', 'b', 'c', '<|end|>', ...markers];
  const header = encodeGgufHeader(
    {
      'general.architecture': { type: 'string', value: 'qwen2' },
      'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
      'tokenizer.ggml.pre': { type: 'string', value: 'qwen2' },
      'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
      'tokenizer.ggml.token_type': { type: 'i32s', value: tokens.map((_, token) => (token < 3 ? 1 : 3)) },
      'tokenizer.ggml.merges': { type: 'strings', value: ['a b'] },
      'tokenizer.ggml.eos_token_id': { type: 'u32', value: 3 },
    },
    [],
  );
  writeFileSync(path, header);
  return loadVocabulary(ggml, path);
}

describe('the tokens of texts with a gap', () => {
  it('are found as libllama finds them, by their names', () => {
    using qwen = withMarkers([
      '<|fim_prefix|>',
      '<|fim_middle|>',
      '<|fim_suffix|>',
      '<|repo_name|>',
      '<|file_sep|>',
    ]);
    expect(qwen.infill).toEqual({ prefix: 4, middle: 5, suffix: 6, repository: 7, file: 8 });
    // An answer that goes on with another file is over.
    expect([...qwen.endOfGenerationTokens].sort()).toEqual([3, 7, 8]);
    using starcoder = withMarkers(['<fim_prefix>', '<fim_suffix>', '<fim_middle>']);
    expect(starcoder.infill).toEqual({ prefix: 4, suffix: 5, middle: 6, repository: null, file: null });
  });

  it('are none where one that is needed lacks', () => {
    using half = withMarkers(['<|fim_prefix|>', '<|fim_suffix|>']);
    expect(half.infill).toBeNull();
    using plain = withMarkers([]);
    expect(plain.infill).toBeNull();
  });
});
