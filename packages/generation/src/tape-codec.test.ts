import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TapeLine } from './tape.js';
import { decodeTapeLine, encodeTapeLine } from './tape-codec.js';

const logprob = fc.oneof(fc.float({ noNaN: true, max: 0 }), fc.constant(-Infinity)).map((value) => value + 0);
const token = fc.nat(2 ** 31 - 1);
const logprobs = fc.record({
  logprob,
  top: fc.array(fc.record({ token, logprob }), { maxLength: 4 }),
});
const choice = fc.nat(200);
const line: fc.Arbitrary<TapeLine> = fc.oneof(
  fc.record({
    kind: fc.constant('input' as const),
    input: fc.nat(99),
    tokens: fc.array(token).map((tokens) => Int32Array.from(tokens)),
  }),
  fc.record({
    kind: fc.constant('prompt' as const),
    choice,
    tokens: fc.array(fc.record({ token, logprobs: fc.option(logprobs) })),
  }),
  fc.record({ kind: fc.constant('token' as const), choice, token }),
  fc.record({ kind: fc.constant('token' as const), choice, token, logprobs }),
  fc.record({
    kind: fc.constant('end' as const),
    choice,
    reason: fc.constantFrom('stop' as const, 'length' as const),
    cachedPromptTokens: fc.nat(),
    queuedMs: fc.option(fc.nat()),
  }),
);

describe('a line of a tape', () => {
  it('comes back from its bytes as it was', () => {
    fc.assert(
      fc.property(line, (each) => {
        expect(decodeTapeLine(encodeTapeLine(each))).toEqual(each);
      }),
    );
  });

  it('is refused where it is none', () => {
    for (const bytes of [Buffer.from('{'), Buffer.from('null'), new Uint8Array(0)])
      expect(() => decodeTapeLine(bytes)).toThrow('cannot be read');
  });
});
