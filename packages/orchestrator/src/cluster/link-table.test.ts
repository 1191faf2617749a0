import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LinkTable } from './link-table.js';

const measured = { latencyMicros: 700, bytesPerSecond: 5e7 };
const direct = { ...measured, isRelayed: false };

function measure(table: LinkTable, from: string, to: string, found: typeof measured | null): void {
  table.reached(from, to, found?.latencyMicros ?? null);
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
    const assumed = table.link('a', 'b', 0);
    expect(assumed).toEqual({ latencyMicros: 200, bytesPerSecond: 110e6, isRelayed: false });
    measure(table, 'a', 'b', measured);
    expect(table.link('a', 'b', 0)).toEqual(direct);
    expect(table.link('b', 'a', 0)).toEqual(assumed);
  });

  it('within one machine is faster than any network', () => {
    const table = tableOf('a', 'c');
    table.join('b', 'machine a');
    expect(table.isOneMachine('a', 'b')).toBe(true);
    expect(table.isOneMachine('a', 'c')).toBe(false);
    expect(table.isOneMachine('nobody', 'no one')).toBe(false);
    expect(table.link('a', 'b', 0).bytesPerSecond).toBeGreaterThan(table.link('a', 'c', 0).bytesPerSecond);
    expect(table.link('a', 'b', 0).latencyMicros).toBeLessThan(table.link('a', 'c', 0).latencyMicros);
  });

  it('to and from the orchestrator is what heartbeats show', () => {
    const table = tableOf('a');
    table.heard('a', 3000);
    table.heard('nobody', 9000);
    expect(table.link('a', null, 0)).toMatchObject({ latencyMicros: 3000, isRelayed: false });
    expect(table.link(null, 'a', 0)).toMatchObject({ latencyMicros: 3000, isRelayed: false });
    expect(table.link('nobody', null, 0).latencyMicros).toBe(200);
  });

  it('that cannot be dialled goes through the orchestrator, and costs both ways', () => {
    const table = tableOf('a', 'b');
    table.heard('a', 1000);
    table.heard('b', 4000);
    measure(table, 'a', 'b', null);
    expect(table.link('a', 'b', 0)).toEqual({ latencyMicros: 5000, bytesPerSecond: 55e6, isRelayed: true });
    expect(table.link('b', 'a', 0).isRelayed).toBe(false);
  });

  it('that broke is distrusted for two minutes', () => {
    const table = tableOf('a', 'b');
    measure(table, 'a', 'b', measured);
    table.broke('a', 'b', 1000);
    expect(table.link('a', 'b', 1000)).toEqual({ latencyMicros: 400, bytesPerSecond: 55e6, isRelayed: true });
    expect(table.link('b', 'a', 1000).isRelayed).toBe(false);
    expect(table.link('a', 'b', 120_999).isRelayed).toBe(true);
    expect(table.link('a', 'b', 121_000)).toEqual(direct);
  });

  it('is forgiven once, when its time is over', () => {
    const table = tableOf('a', 'b');
    table.broke('a', 'b', 1000);
    expect(table.forgive(120_999)).toBe(false);
    expect(table.forgive(121_000)).toBe(true);
    expect(table.forgive(121_000)).toBe(false);
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
    expect(table.link('a', 'b', 0)).toMatchObject({ latencyMicros: 200, isRelayed: false });
    expect(table.link('b', 'a', 0).isRelayed).toBe(false);
    expect(table.link('a', null, 0).latencyMicros).toBe(200);
    expect(table.link('ab', 'b', 0)).toEqual(direct);
  });

  it('of a worker that is not here breaks without a trace', () => {
    const table = tableOf('b');
    table.broke('a', 'b', 0);
    table.join('a', 'machine a');
    expect(table.link('a', 'b', 0).isRelayed).toBe(false);
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
        if (each.what === 'measured') measure(table, each.from, each.to, each.found);
        else if (each.what === 'broke') table.broke(each.from, each.to, nowMs);
        else if (each.what === 'heard') table.heard(each.from, each.micros);
        else if (each.what === 'left') table.leave(each.from);
        else table.join(each.from, `machine ${each.from}`);
      }
      for (const from of ['a', 'b', 'c', null])
        for (const to of ['a', 'b', 'c', null]) {
          if (from === to) continue;
          const { latencyMicros, bytesPerSecond, isRelayed } = table.link(from, to, events.length);
          expect(latencyMicros).toBeGreaterThanOrEqual(0);
          expect(bytesPerSecond).toBeGreaterThan(0);
          if (!isRelayed) continue;
          for (const way of [table.link(from, null, 0), table.link(null, to, 0)]) {
            expect(latencyMicros).toBeGreaterThanOrEqual(way.latencyMicros);
            expect(bytesPerSecond).toBeLessThan(way.bytesPerSecond);
          }
          // Distrust ends; only what could not be dialled stays so.
          const later = table.link(from, to, 1e9);
          if (later.isRelayed) expect(later).toEqual({ latencyMicros, bytesPerSecond, isRelayed });
        }
    }),
  );
});
