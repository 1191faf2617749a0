import type { TokenTable } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { sharedTokens } from './shared-tokens.js';

function tableOf(words: readonly string[], special: readonly number[] = []): TokenTable {
  const parts = words.map((word) => Buffer.from(word));
  const offsets = [0];
  for (const part of parts) offsets.push((offsets.at(-1) ?? 0) + part.length);
  return {
    bytes: Uint8Array.from(Buffer.concat(parts)),
    offsets: Uint32Array.from(offsets),
    isSpecial: Uint8Array.from(words, (_, token) => (special.includes(token) ? 1 : 0)),
    stopTokens: Int32Array.of(0),
  };
}

describe('sharedTokens', () => {
  const model = tableOf(['<end>', 'a', 'bc'], [0]);

  it('are all of the smaller vocabulary', () => {
    expect(sharedTokens(model, model)).toBe(3);
    expect(sharedTokens(tableOf(['<end>', 'a', 'bc', 'unused'], [0]), model)).toBe(3);
    expect(sharedTokens(model, tableOf(['<end>', 'a', 'bc', 'unused'], [0]))).toBe(3);
  });

  it.each([
    ['another word', tableOf(['<end>', 'a', 'bd'], [0]), /token 2 as "bd" and the model as "bc"/u],
    ['another cut', tableOf(['<end>', 'ab', 'c'], [0]), /token 1/u],
    ['another control token', tableOf(['<end>', 'a', 'bc'], [0, 2]), /token 2 as a control token/u],
    ['far more tokens', tableOf(Array.from({ length: 200 }, () => 'x')), /has 200 tokens and the model 3/u],
  ])('are refused with %s', (_, draft, message) => {
    expect(() => sharedTokens(model, draft)).toThrow(message);
    expect(() => sharedTokens(model, draft)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', param: 'draft' }),
    );
  });
});
