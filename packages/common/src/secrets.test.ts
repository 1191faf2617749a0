import fc from 'fast-check';
import { expect, it } from 'vitest';
import { secretsEqual } from './secrets.js';

it('finds secrets equal exactly when they are', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (one, other) => {
      expect(secretsEqual(one, one)).toBe(true);
      expect(secretsEqual(one, other)).toBe(one === other);
      expect(secretsEqual(one, `${one}x`)).toBe(false);
    }),
  );
});
