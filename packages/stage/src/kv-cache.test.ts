import { ComputeAllocator, CpuBackend, Graph, dtype, shapeOf } from '@butterfly/ggml';
import { cacheBytesPerSlot } from '@butterfly/model';
import { type ArenaCopy, type CacheType, cacheTypes } from '@butterfly/wire';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { KvCache } from './kv-cache.js';
import { ggml } from './testing/stages.js';

const backend = new CpuBackend(ggml, 1);
afterAll(() => backend[Symbol.dispose]());
const shape = { heads: 4, kvHeads: 2, keySize: 64, valueSize: 64 };
const width = shape.kvHeads * shape.keySize;
const slots = 512;
const layers = 3;
const shapes = Array.from({ length: layers }, () => shape);

/** All bytes of each plane: keys and values of each layer. */
function planes(cache: KvCache): Uint8Array[] {
  using graph = new Graph(ggml, 1);
  return cache.layers.flatMap((layer) =>
    [layer?.keys, layer?.values].flatMap((tensor) =>
      tensor ? [new Uint8Array(graph.data(tensor)).slice()] : [],
    ),
  );
}

async function clearedCache(type: CacheType): Promise<KvCache> {
  const cache = new KvCache(backend, shapes, slots, type);
  await cache.clear();
  return cache;
}

/** Writes rows as a step does. */
async function write(
  cache: KvCache,
  layer: number,
  ids: readonly number[],
  rows: Float32Array,
): Promise<void> {
  const target = cache.layers[layer];
  if (!target) throw new RangeError('no such layer');
  using graph = new Graph(ggml, 8);
  const source = graph.input(dtype.F32, shapeOf(width, ids.length));
  const slotIds = graph.input(dtype.I64, shapeOf(ids.length));
  for (const table of [target.keys, target.values])
    if (table) graph.expand(graph.setRows(table, source, slotIds));
  using allocator = new ComputeAllocator(backend);
  allocator.allocate(graph);
  new Float32Array(graph.data(source)).set(rows);
  new BigInt64Array(graph.data(slotIds)).set(ids.map(BigInt));
  await backend.compute(graph);
}

function someNumbers(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) * 3);
}

function halfToNumber(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/** What one row of the cache says. */
function decode(type: CacheType, row: Uint8Array): number[] {
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const word = (at: number): number => view.getUint16(at, true);
  switch (type) {
    case 'f16':
      return Array.from({ length: width }, (_, i) => halfToNumber(word(i * 2)));
    case 'bf16': {
      const single = new DataView(new ArrayBuffer(4));
      return Array.from({ length: width }, (_, i) => {
        single.setUint16(2, word(i * 2), true);
        return single.getFloat32(0, true);
      });
    }
    case 'q8_0':
      return Array.from({ length: width }, (_, i) => {
        const block = Math.floor(i / 32) * 34;
        return halfToNumber(word(block)) * view.getInt8(block + 2 + (i % 32));
      });
  }
}

describe.each(cacheTypes)('%s', (type) => {
  it('takes the bytes that plans count on, all zero once it is cleared', async () => {
    using cache = await clearedCache(type);
    expect(cache.bytes).toBe(cacheBytesPerSlot(shape, type) * slots * layers);
    expect(planes(cache).map((plane) => plane.length)).toEqual(
      Array<number>(layers * 2).fill(cache.bytes / layers / 2),
    );
    expect(planes(cache).every((plane) => plane.every((byte) => byte === 0))).toBe(true);
  });

  it('clears all of it piece by piece, with other work between, until that throws', async () => {
    using cache = new KvCache(backend, shapes, slots, type);
    const every = Array.from({ length: slots }, (_, slot) => slot);
    const fill = async (): Promise<void> => {
      for (let layer = 0; layer < layers; layer++)
        await write(cache, layer, every, someNumbers(width * slots).fill(1));
    };
    await fill();
    let others = 0;
    let isDone = false;
    const work = (): void => {
      others++;
      if (!isDone) setImmediate(work);
    };
    setImmediate(work);
    let pauses = 0;
    // No power of two, as the arena of a model is none either.
    const atOnceBytes = Math.ceil(cache.bytes / 7.5);
    await cache.clear({ atOnceBytes, onPause: () => pauses++ });
    isDone = true;
    expect(pauses).toBe(7);
    expect(others).toBeGreaterThanOrEqual(7);
    expect(planes(cache).every((plane) => plane.every((byte) => byte === 0))).toBe(true);

    await fill();
    const stop = (): never => {
      throw new RangeError('not wanted any more');
    };
    await expect(cache.clear({ atOnceBytes, onPause: stop })).rejects.toThrow('not wanted any more');
    expect(
      planes(cache)
        .at(-1)
        ?.every((byte) => byte === 0),
    ).toBe(false);
  });

  it('keeps what is written, as exactly as its type can, and nothing else', async () => {
    using cache = await clearedCache(type);
    const rows = someNumbers(width * 2);
    await write(cache, 1, [300, 7], rows);
    const rowBytes = cacheBytesPerSlot(shape, type) / 2;
    const error = { f16: 3 * 2 ** -11, bf16: 3 * 2 ** -8, q8_0: 3 / 127 / 2 + 3 * 2 ** -10 }[type];
    for (const [index, plane] of planes(cache).entries()) {
      const isWritten = index === 2 || index === 3;
      for (const [row, slot] of [300, 7].entries()) {
        const bytes = plane.slice(slot * rowBytes, (slot + 1) * rowBytes);
        if (!isWritten) {
          expect(bytes.every((byte) => byte === 0)).toBe(true);
          continue;
        }
        const wanted = rows.subarray(row * width, (row + 1) * width);
        const worst = decode(type, bytes).reduce(
          (w, x, i) => Math.max(w, Math.abs(x - (wanted[i] ?? NaN))),
          0,
        );
        expect(worst).toBeLessThanOrEqual(error);
        plane.fill(0, slot * rowBytes, (slot + 1) * rowBytes);
      }
      expect(plane.every((byte) => byte === 0)).toBe(true);
    }
  });

  it('copies byte for byte, ranges that overlap too', async () => {
    using cache = await clearedCache(type);
    const rowBytes = cacheBytesPerSlot(shape, type) / 2;
    for (let layer = 0; layer < layers; layer++)
      await write(
        cache,
        layer,
        Array.from({ length: slots }, (_, slot) => slot),
        someNumbers(width * slots).map((value) => value * (layer + 1)),
      );
    const copies = fc
      .tuple(fc.nat(slots - 1), fc.nat(slots - 1), fc.integer({ min: 1, max: slots }))
      .map(([fromSlot, toSlot, count]): ArenaCopy => ({
        fromSlot,
        toSlot,
        slots: Math.min(count, slots - Math.max(fromSlot, toSlot)),
      }));
    const model = planes(cache);
    fc.assert(
      fc.property(copies, (copy) => {
        cache.copy(copy);
        const { fromSlot, toSlot, slots: count } = copy;
        for (const plane of model) {
          const moved = plane.slice(fromSlot * rowBytes, (fromSlot + count) * rowBytes);
          plane.set(moved, toSlot * rowBytes);
        }
        for (const [index, plane] of planes(cache).entries())
          expect(Buffer.compare(plane, model[index] ?? new Uint8Array(0))).toBe(0);
      }),
      { numRuns: 30 },
    );
  });
});

it.each([8, 16, 48, 80])('is refused in Q8_0 for heads of %d, and had in the other types', (headSize) => {
  const heads = [{ heads: 2, kvHeads: 2, keySize: headSize, valueSize: headSize }];
  expect(() => new KvCache(backend, heads, 256, 'q8_0')).toThrow(
    expect.objectContaining({ code: 'COMPUTE_INVALID' }),
  );
  for (const type of ['f16', 'bf16'] as const) {
    using cache = new KvCache(backend, heads, 256, type);
    expect(cache.type).toBe(type);
  }
});
