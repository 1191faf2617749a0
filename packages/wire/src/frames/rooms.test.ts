import fc from 'fast-check';
import { expect, it } from 'vitest';
import { firstToKeep, holdsWindow, roomSlotsFor, type WindowRooms } from './rooms.js';

const windows = fc
  .record({ windowTokens: fc.integer({ min: 1, max: 5000 }), rowsMax: fc.integer({ min: 1, max: 600 }) })
  .map(({ windowTokens, rowsMax }) => ({
    rooms: { windowTokens, rooms: 1, roomSlots: roomSlotsFor(windowTokens, rowsMax) } satisfies WindowRooms,
    rowsMax,
  }));

it('a room has place for its window and the rows of any steps, and holds what a sequence sees that is set back', () => {
  fc.assert(
    fc.property(
      windows,
      fc.array(fc.record({ rows: fc.nat(600), back: fc.nat(32), moves: fc.boolean() }), { maxLength: 60 }),
      ({ rooms, rowsMax }, steps) => {
        let [first, start, moved] = [0, 0, 0];
        for (const { rows, back, moves } of steps) {
          // Never behind where the room was when the sequence last got on.
          start = Math.max(moved, start - back);
          const end = start + Math.min(rowsMax, rows + 1);
          expect(holdsWindow(first, start, rooms)).toBe(true);
          const next = firstToKeep(first, { start, end }, rooms, !moves);
          expect(next).toBeGreaterThanOrEqual(first);
          expect(next % 256).toBe(0);
          expect(end - next).toBeLessThanOrEqual(rooms.roomSlots);
          expect(holdsWindow(next, Math.max(0, start - 32), rooms) || next === first).toBe(true);
          if (next !== first) moved = Math.max(0, start - 32);
          [first, start] = [next, end];
        }
      },
    ),
  );
});

it('a room stays as it is until it is full, and is whole blocks', () => {
  const rooms = { windowTokens: 128, rooms: 2, roomSlots: roomSlotsFor(128, 512) };
  expect(rooms.roomSlots).toBe(1024);
  expect(firstToKeep(0, { start: 1000, end: 1024 }, rooms, true)).toBe(0);
  // 1,024 - 127 - 32 is in the fourth block.
  expect(firstToKeep(0, { start: 1024, end: 1025 }, rooms, true)).toBe(768);
  expect(firstToKeep(0, { start: 1000, end: 1001 }, rooms, false)).toBe(768);
  expect(holdsWindow(768, 895, rooms)).toBe(true);
  expect(holdsWindow(768, 894, rooms)).toBe(false);
});
