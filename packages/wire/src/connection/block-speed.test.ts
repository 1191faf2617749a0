import { describe, expect, it } from 'vitest';
import { limits } from '@butterfly/common';
import { blockSpeed } from './block-speed.js';

/** A way of so many bytes per second, and what was sent over it; other work makes blocks late. */
async function measure(
  bytesPerSecond: number,
  lateMs: (block: number) => number = () => 0,
): Promise<{ speed: number | null; sent: number[] }> {
  const sent: number[] = [];
  const speed = await blockSpeed((bytes) => {
    const elapsedMs = (bytes * 1000) / bytesPerSecond + lateMs(sent.length);
    sent.push(bytes);
    return Promise.resolve({ elapsedMs, outcome: 'here' });
  }, 0);
  return { speed, sent };
}

describe('blockSpeed', () => {
  it.each([1e5, 1e7, 1e8, 1e10])('finds %d bytes per second', async (bytesPerSecond) => {
    const { speed, sent } = await measure(bytesPerSecond);
    expect(speed).toBeCloseTo(bytesPerSecond, -2);
    expect(sent[0]).toBeLessThan(2e4);
  });

  it('sends no more over a fast way than tells something new', async () => {
    const { sent } = await measure(1e10);
    const largest = sent.filter((bytes) => bytes === limits.fileChunkBytesMax);
    expect(largest).toHaveLength(3);
    expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(4 * limits.fileChunkBytesMax);
  });

  it('takes no block that other work made late for the speed of the way', async () => {
    for (const bytesPerSecond of [1e6, 25e6, 1e9])
      for (const phase of [0, 1]) {
        const { speed } = await measure(bytesPerSecond, (block) => (block % 2 === phase ? 500 : 0));
        expect(speed).toBeCloseTo(bytesPerSecond, -2);
      }
  });

  it('does not go on for ever over a way that brings nothing', async () => {
    expect(await measure(1000)).toMatchObject({ sent: [16_384, 16_384, 16_384] });
    expect(await blockSpeed(() => Promise.resolve({ elapsedMs: 1500, outcome: 'late' }), 1)).toBeLessThan(
      2e4,
    );
    expect(await blockSpeed(() => Promise.resolve({ elapsedMs: 1, outcome: 'wrong' }), 1)).toBe(null);
  });
});
