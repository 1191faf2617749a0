import fc from 'fast-check';
import { canCutAt } from '@butterfly/model';
import { describe, expect, it } from 'vitest';
import { middleRange } from './measured-layers.js';

const modelOf = (crossings: readonly (number | null)[]) => ({
  layers: crossings.length + 1,
  crossings: [...crossings],
});

describe('middleRange', () => {
  it.each([
    [10, 4, [3, 7]],
    [10, 1, [4, 5]],
    [10, 10, [1, 9]],
    [2, 1, [0, 1]],
    [1, 1, [0, 1]],
  ] as const)(
    'of %i layers that can be parted anywhere takes %i from the middle',
    (layers, count, expected) => {
      const { layerStart, layerEnd } = middleRange(modelOf(new Array<number>(layers - 1).fill(8)), count);
      expect([layerStart, layerEnd]).toEqual(expected);
    },
  );

  it('takes layers before those that cannot be parted, and these only where there are no others', () => {
    expect(middleRange(modelOf([8, 8, 8, 8, null, null, null]), 2)).toEqual({ layerStart: 2, layerEnd: 4 });
    expect(middleRange(modelOf([null, null, 8, null]), 1)).toEqual({ layerStart: 3, layerEnd: 5 });
    expect(middleRange(modelOf([null, null]), 1)).toEqual({ layerStart: 0, layerEnd: 3 });
  });

  it('is always what can be a stage', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(8, null), { maxLength: 12 }), fc.nat(14), (crossings, count) => {
        const model = modelOf(crossings);
        const { layerStart, layerEnd } = middleRange(model, count + 1);
        expect(layerStart).toBeLessThan(layerEnd);
        expect([canCutAt(model, layerStart), canCutAt(model, layerEnd)]).toEqual([true, true]);
      }),
    );
  });
});
