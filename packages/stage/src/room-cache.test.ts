import { CpuBackend, Graph } from '@butterfly/ggml';
import type { LayerAttention } from '@butterfly/model';
import type { SequenceWindow, StepSequence } from '@butterfly/wire';
import { afterAll, describe, expect, it } from 'vitest';
import { RoomCache } from './room-cache.js';
import { ggml, part } from './testing/stages.js';

const backend = new CpuBackend(ggml, 1);
afterAll(() => backend[Symbol.dispose]());
const windows = { windowTokens: 100, rooms: 3, roomSlots: 512 };
const seeing = (window: LayerAttention['window']): LayerAttention => ({
  heads: 2,
  kvHeads: 1,
  keySize: 2,
  valueSize: 2,
  window,
});
const layers = [seeing(null), seeing({ kind: 'sliding', tokens: 100 }), null];
const at = (positionStart: number, rows: number, window: SequenceWindow): StepSequence =>
  part({ positionStart, rows, window });
const still = (room: number): SequenceWindow => ({ from: room, fromFirst: 0, to: room, toFirst: 0 });

/** The words of the keys, of which a slot has one. */
function keysOf(rooms: RoomCache): Uint32Array {
  const keys = rooms.layers[1]?.keys;
  if (!keys) throw new RangeError('there is no such layer');
  using graph = new Graph(ggml, 1);
  return new Uint32Array(graph.data(keys));
}

async function numbered(): Promise<RoomCache> {
  const rooms = new RoomCache(backend, layers, windows, 'f16');
  await rooms.clear();
  keysOf(rooms).forEach((_, slot, keys) => (keys[slot] = slot));
  return rooms;
}

describe('rooms', () => {
  it('are of window layers alone, and none in a model without', async () => {
    using rooms = await numbered();
    expect(rooms.layers.map((layer) => layer !== null)).toEqual([false, true, false]);
    expect(rooms.bytes).toBeGreaterThanOrEqual(3 * 512 * 8);
    using none = new RoomCache(backend, layers, null, 'f16');
    expect(none.layers).toEqual([null, null, null]);
  });

  it('are moved to their front, copied, and left alone where rows follow', async () => {
    using rooms = await numbered();
    const keys = keysOf(rooms);
    rooms.move([
      at(500, 1, { from: 0, fromFirst: 0, to: 0, toFirst: 256 }),
      at(700, 2, { from: 1, fromFirst: 256, to: 2, toFirst: 512 }),
      at(40, 1, still(1)),
    ]);
    expect([...keys.slice(0, 244)]).toEqual(Array.from({ length: 244 }, (_, i) => 256 + i));
    expect(keys[244]).toBe(244);
    expect([...keys.slice(1024, 1024 + 188)]).toEqual(Array.from({ length: 188 }, (_, i) => 512 + 256 + i));
    expect(keys[1024 + 188]).toBe(1024 + 188);
    expect([...keys.slice(512, 1024)]).toEqual(Array.from({ length: 512 }, (_, i) => 512 + i));
  });

  it('are copied in the order of the sequences, so that a room may be taken that was just left', async () => {
    using rooms = await numbered();
    rooms.move([
      at(10, 1, { from: 0, fromFirst: 0, to: 2, toFirst: 0 }),
      at(10, 1, { from: 1, fromFirst: 0, to: 0, toFirst: 0 }),
    ]);
    const keys = keysOf(rooms);
    expect([keys[1024 + 9], keys[9]]).toEqual([9, 512 + 9]);
  });

  it('lose what faulty rows left behind the rows of a step, wherever it was moved, and nothing else', async () => {
    using rooms = await numbered();
    const keys = keysOf(rooms);
    // Rows 3 and 9 of a sequence that begins at 20.
    for (const row of [3, 9]) rooms.mark(at(20, 10, still(0)), row);
    rooms.emptyFaulty([at(0, 24, still(1))]);
    expect([keys[23], keys[29]]).toEqual([23, 29]);
    rooms.move([at(30, 1, { from: 0, fromFirst: 0, to: 1, toFirst: 0 })]);
    // What it writes over is faulty no more, and what it sees stays.
    rooms.emptyFaulty([at(0, 24, still(0)), at(24, 2, still(1))]);
    expect([keys[23], keys[28], keys[29], keys[30]]).toEqual([23, 28, 0, 30]);
    expect([keys[512 + 23], keys[512 + 29]]).toEqual([23, 0]);
  });
});
