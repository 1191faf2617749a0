import { describe, expect, it } from 'vitest';
import { limits } from '../limits.js';
import { ManualClock } from '../testing/manual-clock.js';
import { blockSpeed } from './block-speed.js';

/** A way of so many bytes per second, and what was sent over it. */
async function measure(bytesPerSecond: number): Promise<{ speed: number | null; sent: number[] }> {
  const clock = new ManualClock();
  const sent: number[] = [];
  const speed = await blockSpeed(
    (bytes) => {
      sent.push(bytes);
      const elapsedMs = (bytes * 1000) / bytesPerSecond;
      clock.jump(elapsedMs);
      return Promise.resolve({ elapsedMs, outcome: 'here' });
    },
    0,
    clock,
  );
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
    expect(largest).toHaveLength(2);
    expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(3 * limits.fileChunkBytesMax);
  });
});
