import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConnectionPlaces } from './connection-places.js';

const addresses = ['192.0.2.1', '192.0.2.2', '2001:db8::1', '127.0.0.1'] as const;

function placesFor(connectionsMax: number): ConnectionPlaces {
  return new ConnectionPlaces({ connectionsMax, isShared: (address) => address === '127.0.0.1' });
}

/** How many of so many connections from there get a place. */
function taken(places: ConnectionPlaces, address: string, tries: number): number {
  return Array.from({ length: tries }, () => places.take(address)).filter((refusal) => refusal === null)
    .length;
}

describe('places of connections', () => {
  it('are one half for one address alone, and there are some for each that comes later', () => {
    const places = placesFor(64);
    expect(taken(places, '192.0.2.1', 100)).toBe(32);
    expect(taken(places, '192.0.2.2', 100)).toBe(16);
    expect(taken(places, '192.0.2.3', 100)).toBe(8);
    expect(places.take('192.0.2.1')).toMatchObject({
      code: 'QUEUE_FULL',
      message: expect.stringContaining('32 connections from your address') as string,
    });
  });

  it('count a network of IPv6 as one address', () => {
    const places = placesFor(64);
    expect(taken(places, '2001:db8::1', 32)).toBe(32);
    expect(taken(places, '2001:db8::2', 1)).toBe(0);
    expect(taken(places, '2001:db8:0:1::2', 1)).toBe(1);
  });

  it('are as many as there are for an address that others come from too', () => {
    const places = placesFor(64);
    expect(taken(places, '127.0.0.1', 100)).toBe(64);
    expect(places.take('127.0.0.1')).toMatchObject({
      code: 'QUEUE_FULL',
      message: expect.stringContaining('takes no more') as string,
    });
  });

  it('come back, whoever had them, and never are more than there are', () => {
    const step = fc.record({ address: fc.constantFrom(...addresses), isLeaving: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const places = placesFor(16);
        const open: string[] = [];
        for (const { address, isLeaving } of steps) {
          if (isLeaving && open.includes(address)) {
            open.splice(open.indexOf(address), 1);
            places.leave(address);
          } else if (places.take(address) === null) open.push(address);
          expect(open.length).toBeLessThanOrEqual(16);
        }
        for (const address of open) places.leave(address);
        expect(taken(places, '127.0.0.1', 17)).toBe(16);
      }),
    );
  });
});
