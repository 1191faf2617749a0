import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LinkTable } from './link-table.js';

const measured = { latencyMicros: 700, bytesPerSecond: 5e7 };
const direct = { ...measured, isRelayed: false };

function measure(table: LinkTable, from: string, to: string, found: typeof measured | null, nowMs = 0): void {
  table.reached(from, to, found?.latencyMicros ?? null, nowMs);
  if (found) table.flowed(from, to, found.bytesPerSecond);
}

/** Each on a machine of its own. */
function tableOf(...workerIds: string[]): LinkTable {
  const table = new LinkTable();
  for (const id of workerIds) table.join(id, `machine ${id}`);
  return table;
}

describe('a link', () => {
  it('is taken for one of a good LAN, until it is measured, each way for itself', () => {
    const table = tableOf('a', 'b');
    const assumed = table.link('a', 'b');
    expect(assumed).toEqual({ latencyMicros: 200, bytesPerSecond: 110e6, isRelayed: false });
    measure(table, 'a', 'b', measured);
    expect(table.link('a', 'b')).toEqual(direct);
    expect(table.link('b', 'a')).toEqual(assumed);
  });

  it('within one machine is faster than any network', () => {
    const table = tableOf('a', 'c');
    table.join('b', 'machine a');
    expect(table.isOneMachine('a', 'b')).toBe(true);
    expect(table.isOneMachine('a', 'c')).toBe(false);
    expect(table.isOneMachine('nobody', 'no one')).toBe(false);
    expect(table.link('a', 'b').bytesPerSecond).toBeGreaterThan(table.link('a', 'c').bytesPerSecond);
    expect(table.link('a', 'b').latencyMicros).toBeLessThan(table.link('a', 'c').latencyMicros);
  });

  it('to and from the orchestrator is what heartbeats show', () => {
    const table = tableOf('a');
    table.heard('a', 3000);
    table.heard('nobody', 9000);
    expect(table.link('a', null)).toMatchObject({ latencyMicros: 3000, isRelayed: false });
    expect(table.link(null, 'a')).toMatchObject({ latencyMicros: 3000, isRelayed: false });
    expect(table.link('nobody', null).latencyMicros).toBe(200);
  });

  it('that cannot be dialled goes through the orchestrator, and costs both ways', () => {
    const table = tableOf('a', 'b');
    table.heard('a', 1000);
    table.heard('b', 4000);
    measure(table, 'a', 'b', null);
    expect(table.link('a', 'b')).toEqual({ latencyMicros: 5000, bytesPerSecond: 55e6, isRelayed: true });
    expect(table.link('b', 'a').isRelayed).toBe(false);
  });

  it('that could not be dialled is to be tried again after two minutes, and is believed then', () => {
    const table = tableOf('a', 'b');
    measure(table, 'a', 'b', null, 1000);
    expect(table.doubtful(120_999)).toEqual([]);
    expect(table.doubtful(121_000)).toEqual([['a', 'b']]);
    expect(table.link('a', 'b').isRelayed).toBe(true);
    measure(table, 'a', 'b', null, 121_000);
    expect(table.doubtful(121_000)).toEqual([]);
    measure(table, 'a', 'b', measured, 241_000);
    expect(table.link('a', 'b')).toEqual(direct);
    expect(table.doubtful(1e9)).toEqual([]);
  });

  it('that broke is not believed within two minutes, though it can be dialled', () => {
    const table = tableOf('a', 'b');
    measure(table, 'a', 'b', measured);
    table.broke('a', 'b', 1000);
    const relayed = { latencyMicros: 400, bytesPerSecond: 55e6, isRelayed: true };
    expect(table.link('a', 'b')).toEqual(relayed);
    expect(table.link('b', 'a').isRelayed).toBe(false);
    measure(table, 'a', 'b', measured, 120_999);
    expect(table.link('a', 'b')).toEqual(relayed);
    expect(table.doubtful(121_000)).toEqual([['a', 'b']]);
    measure(table, 'a', 'b', measured, 121_000);
    expect(table.link('a', 'b')).toEqual(direct);
  });

  it('over the orchestrator is as fast as the ways there and on again together', () => {
    const table = tableOf('a', 'b');
    measure(table, 'a', 'b', null);
    table.flowed('a', null, 1e6);
    table.flowed(null, 'b', 4e6);
    expect(table.link('a', 'b').bytesPerSecond).toBe(8e5);
    expect(table.link('a', null).bytesPerSecond).toBe(1e6);
    expect(table.link(null, 'a').bytesPerSecond).toBe(110e6);
    table.leave('a');
    table.join('a', 'machine a');
    expect(table.link('a', null).bytesPerSecond).toBe(110e6);
  });

  it('is known once anything is measured of it', () => {
    const table = tableOf('a', 'b');
    expect(table.isKnown('a', 'b')).toBe(false);
    measure(table, 'a', 'b', null);
    expect([table.isKnown('a', 'b'), table.isKnown('b', 'a')]).toEqual([true, false]);
    measure(table, 'b', 'a', measured);
    table.flowed('a', null, 1e6);
    expect([table.isKnown('b', 'a'), table.isKnown('a', null), table.isKnown(null, 'a')]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('of a worker that left is forgotten with it', () => {
    const table = tableOf('a', 'b', 'ab');
    measure(table, 'a', 'b', measured);
    measure(table, 'ab', 'b', measured);
    table.broke('b', 'a', 0);
    table.heard('a', 9000);
    table.leave('a');
    // Whatever comes late from it is not kept.
    measure(table, 'a', 'b', measured);
    table.heard('a', 9000);
    table.join('a', 'machine a');
    expect(table.link('a', 'b')).toMatchObject({ latencyMicros: 200, isRelayed: false });
    expect(table.link('b', 'a').isRelayed).toBe(false);
    expect(table.link('a', null).latencyMicros).toBe(200);
    expect(table.link('ab', 'b')).toEqual(direct);
  });

  it('of a worker that is not here breaks without a trace', () => {
    const table = tableOf('b');
    table.broke('a', 'b', 0);
    table.join('a', 'machine a');
    expect(table.link('a', 'b').isRelayed).toBe(false);
  });
});

it('tells of every way a time and a speed that are numbers, and relays cost no less than each of their ways', () => {
  const id = fc.constantFrom('a', 'b', 'c');
  const found = fc.option(
    fc.record({
      latencyMicros: fc.integer({ min: 0, max: 1e6 }),
      bytesPerSecond: fc.integer({ min: 1, max: 1e10 }),
    }),
  );
  const event = fc.oneof(
    fc.record({ what: fc.constant('measured' as const), from: id, to: id, found }),
    fc.record({
      what: fc.constantFrom('broke' as const, 'left' as const, 'joined' as const),
      from: id,
      to: id,
    }),
    fc.record({ what: fc.constant('heard' as const), from: id, micros: fc.integer({ min: 0, max: 1e6 }) }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (events) => {
      const table = tableOf('a', 'b', 'c');
      for (const [nowMs, each] of events.entries()) {
        if (each.what === 'measured') measure(table, each.from, each.to, each.found, nowMs);
        else if (each.what === 'broke') table.broke(each.from, each.to, nowMs);
        else if (each.what === 'heard') table.heard(each.from, each.micros);
        else if (each.what === 'left') table.leave(each.from);
        else table.join(each.from, `machine ${each.from}`);
      }
      for (const from of ['a', 'b', 'c', null])
        for (const to of ['a', 'b', 'c', null]) {
          if (from === to) continue;
          const { latencyMicros, bytesPerSecond, isRelayed } = table.link(from, to);
          expect(latencyMicros).toBeGreaterThanOrEqual(0);
          expect(bytesPerSecond).toBeGreaterThan(0);
          if (!isRelayed) continue;
          for (const way of [table.link(from, null), table.link(null, to)]) {
            expect(latencyMicros).toBeGreaterThanOrEqual(way.latencyMicros);
            expect(bytesPerSecond).toBeLessThan(way.bytesPerSecond);
          }
          expect(table.doubtful(1e9)).toContainEqual([from, to]);
        }
    }),
  );
});
