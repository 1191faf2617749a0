import { setImmediate } from 'node:timers/promises';
import { allocatedBytes } from './leaks/allocator.js';

/**
 * Loaded into each process before its own program (`--import`): on SIGUSR2 it collects all garbage, has the
 * allocator give back what is free, and writes a line with what is left.
 */
process.on('SIGUSR2', () => void tell());

/** What has finalizers is only gone with the next collection. */
const collections = 2;

async function tell(): Promise<void> {
  const { nativeObjects } = await import('@butterfly/ggml');
  for (let i = 0; i < collections; i++) {
    globalThis.gc?.();
    await setImmediate();
  }
  const allocated = allocatedBytes();
  const { heapUsed, heapTotal, external } = process.memoryUsage();
  const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const natives = nativeObjects();
  process.stderr.write(
    `${JSON.stringify({ probe: { heapUsed, heapTotal, external, allocated, timers, natives } })}\n`,
  );
}
