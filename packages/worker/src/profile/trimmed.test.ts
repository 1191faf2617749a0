import fc from 'fast-check';
import { canCutAt } from '@butterfly/model';
import { describe, expect, it } from 'vitest';
import { trimmed } from './measured-parts.js';

const modelOf = (crossings: readonly (number | null)[]) => ({
  layers: crossings.length + 1,
  crossings: [...crossings],
});

describe('trimmed', () => {
  it('leaves out layers at the ends that cannot be parted from others', () => {
    const model = modelOf([8, 8, null, 8, null, null, 8]);
    expect(trimmed(model, [1, 2, 3, 4])).toEqual([1, 2, 3]);
    expect(trimmed(model, [3, 4, 5, 6])).toEqual([4, 5, 6]);
    expect(trimmed(model, [4, 5])).toEqual([]);
    expect(trimmed(model, [0, 1])).toEqual([0, 1]);
  });

  it('is nothing, or what can be a stage', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(8, null), { maxLength: 12 }),
        fc.nat(12),
        fc.nat(12),
        (crossings, a, b) => {
          const model = modelOf(crossings);
          const run = Array.from({ length: model.layers }, (_, layer) => layer).slice(a, a + b);
          const taken = trimmed(model, run);
          if (taken.length === 0) return;
          const [first = 0] = taken;
          expect([canCutAt(model, first), canCutAt(model, first + taken.length)]).toEqual([true, true]);
          expect(run).toEqual(expect.arrayContaining(taken));
        },
      ),
    );
  });
});
