import type { Clock } from '../clock.js';
import { limits } from '../limits.js';

const blocksMs = 200;
const firstBlockBytes = 16 * 1024;
const growth = 4;
/** Blocks of the largest size: more of them would be a load on a fast network, and tell nothing new. */
const largestBlocksMax = 2;
/** Of the time of a block, the least that counts as its transfer: clocks and answers are not exact. */
const transferShareMin = 0.05;

/** How long a block was under way. */
export interface TimedBlock {
  readonly elapsedMs: number;
  /** Late when nothing came in time; wrong when something else came, or the other side went. */
  readonly outcome: 'here' | 'late' | 'wrong';
}

/**
 * Bytes per second of a way, by blocks that grow as long as the next one will be here in time; the largest ones count, as
 * connections start slowly. Null when the other side stops to answer as it should.
 * @param timeBlock sends so many bytes over the way, at most `limits.fileChunkBytesMax`
 * @param roundTripMs of a block of next to nothing
 */
export async function blockSpeed(
  timeBlock: (bytes: number) => Promise<TimedBlock>,
  roundTripMs: number,
  clock: Clock,
): Promise<number | null> {
  const endMs = clock.nowMs() + blocksMs;
  let bytes = firstBlockBytes;
  let best = { bytes: 0, speed: 0 };
  for (let largestBlocks = 0; ;) {
    if (bytes === limits.fileChunkBytesMax) largestBlocks++;
    const { elapsedMs, outcome } = await timeBlock(bytes);
    if (outcome === 'wrong') return null;
    const transferMs = Math.max(elapsedMs - roundTripMs, elapsedMs * transferShareMin, 0.001);
    const speed = (bytes * 1000) / transferMs;
    // Of a block that did not come, the speed is a bound.
    if (outcome === 'late') return best.speed || speed;
    if (bytes > best.bytes || speed > best.speed) best = { bytes, speed };
    bytes = Math.min(bytes * growth, limits.fileChunkBytesMax);
    if (largestBlocks === largestBlocksMax || clock.nowMs() + roundTripMs + (bytes * 1000) / speed > endMs)
      return best.speed;
  }
}
