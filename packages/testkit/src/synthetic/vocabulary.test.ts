import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { syntheticTokenizer, vocabularyMin } from './vocabulary.js';

const strings = (kind: 'llama' | 'gpt2', size: number, key: 'tokens' | 'merges'): readonly string[] => {
  const entry = syntheticTokenizer(kind, size)[`tokenizer.ggml.${key}`];
  return entry?.type === 'strings' ? entry.value : [];
};
const sizes = fc.integer({ min: vocabularyMin, max: 5000 });

describe.each(['llama', 'gpt2'] as const)('a %s vocabulary', (kind) => {
  it('has exactly as many tokens as asked for, all different', () => {
    fc.assert(
      fc.property(sizes, (size) => {
        const tokens = strings(kind, size, 'tokens');
        expect(tokens).toHaveLength(size);
        expect(new Set(tokens).size).toBe(size);
      }),
      { numRuns: 20 },
    );
  });

  it('refuses to be too small', () => {
    expect(() => syntheticTokenizer(kind, vocabularyMin - 1)).toThrow('too small');
  });
});

it('merges only what exists by then', () => {
  fc.assert(
    fc.property(sizes, (size) => {
      const known = new Set(strings('gpt2', size, 'tokens').slice(0, 256));
      for (const merge of strings('gpt2', size, 'merges')) {
        const [left = '', right = ''] = merge.split(' ');
        expect(known.has(left) && known.has(right)).toBe(true);
        known.add(left + right);
      }
      expect(known.size).toBe(size - 3);
    }),
    { numRuns: 20 },
  );
});
