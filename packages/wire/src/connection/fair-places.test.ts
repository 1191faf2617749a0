import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FairPlaces } from './fair-places.js';

/** Takes places, and tells who has got them so far. */
function taker(places: number) {
  const fair = new FairPlaces<string>(places);
  const got: string[] = [];
  return {
    got,
    take: (owner: string) => void fair.take(owner).then(() => got.push(owner)),
    giveBack: (owner: string) => {
      got.splice(got.indexOf(owner), 1);
      fair.giveBack(owner);
    },
    settled: () => new Promise((resolve) => setImmediate(resolve)),
  };
}

describe('FairPlaces', () => {
  it('leaves half of the places to others, and a third where two keep theirs', async () => {
    const { take, got, settled } = taker(12);
    for (let i = 0; i < 20; i++) take('slow');
    await settled();
    expect(got).toHaveLength(6);
    for (let i = 0; i < 20; i++) take('slower');
    await settled();
    expect(got.filter((owner) => owner === 'slower')).toHaveLength(3);
    take('quick');
    await settled();
    expect(got.at(-1)).toBe('quick');
  });

  it('gives the places that come back to those who wait, in their order', async () => {
    const { take, giveBack, got, settled } = taker(1);
    for (const owner of ['a', 'b', 'c']) take(owner);
    for (const owner of ['a', 'b', 'c']) {
      await settled();
      expect(got).toEqual([owner]);
      giveBack(owner);
    }
  });

  it('never gives more than there are, and gives to all in the end', async () => {
    const owners = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), owners, async (places, wanted) => {
        const { take, giveBack, got, settled } = taker(places);
        for (const owner of wanted) take(owner);
        const served: string[] = [];
        while (served.length < wanted.length) {
          await settled();
          expect(got.length).toBeLessThanOrEqual(places);
          const [owner] = got;
          expect(owner).toBeDefined();
          if (owner === undefined) return;
          served.push(owner);
          giveBack(owner);
        }
        expect(served.sort()).toEqual([...wanted].sort());
      }),
    );
  });
});
