import { limits } from '@butterfly/common';

const blocksMs = 200;
const firstBlockBytes = 16 * 1024;
const growth = 4;
/**
 * Blocks of the size that decides, and of any that seems too slow for a larger one: whatever else the hosts compute can
 * only make a block late, so the fastest is the nearest to the truth. More would be a load, and tell nothing new.
 */
const attemptsMax = 3;
/** Of the time of a block, the least that counts as its transfer: clocks and answers are not exact. */
const transferShareMin = 0.05;

/** How long a block was under way. */
export interface TimedBlock {
  readonly elapsedMs: number;
  /** Late when nothing came in time; wrong when something else came, or the other side went. */
  readonly outcome: 'here' | 'late' | 'wrong';
}

/**
 * Bytes per second of a link, by blocks that grow as long as the next one will be here in time; the fastest of the largest
 * counts, as connections start slowly and hosts have other work. Null when the other side stops to answer as it should.
 * @param timeBlock sends so many bytes over the link, at most `limits.fileChunkBytesMax`
 * @param roundTripMs of a block of next to nothing
 */
export async function blockSpeed(
  timeBlock: (bytes: number) => Promise<TimedBlock>,
  roundTripMs: number,
): Promise<number | null> {
  for (let bytes = firstBlockBytes; ;) {
    let speed = 0;
    let isNextInTime = false;
    for (let attempt = 0; attempt < attemptsMax && !isNextInTime; attempt++) {
      const { elapsedMs, outcome } = await timeBlock(bytes);
      if (outcome === 'wrong') return null;
      const transferMs = Math.max(elapsedMs - roundTripMs, elapsedMs * transferShareMin, 0.001);
      // Of a block that did not come, the speed is a bound.
      if (outcome === 'late') return speed || (bytes * 1000) / transferMs;
      speed = Math.max(speed, (bytes * 1000) / transferMs);
      const next = bytes * growth;
      isNextInTime = next <= limits.fileChunkBytesMax && roundTripMs + (next * 1000) / speed <= blocksMs;
    }
    if (!isNextInTime) return speed;
    bytes *= growth;
  }
}
