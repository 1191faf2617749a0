import { readdirSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { NativeKind } from '@butterfly/ggml';
import { residentBytes } from '@butterfly/testkit';
import type { Process } from '../process.js';

/** What a process holds at one moment, after all garbage was collected. */
export interface Sample {
  /** Memory that is resident, in bytes. */
  readonly rss: number;
  /** Of that, what V8 has taken for its heap, used or not. */
  readonly room: number;
  /** Bytes of JavaScript objects, and of memory outside of the heap that they own. */
  readonly heap: number;
  readonly external: number;
  /** Bytes that the allocator of native code has given out and not got back; 0 where it does not tell. */
  readonly allocated: number;
  /** File descriptors, sockets among them. */
  readonly files: number;
  readonly sockets: number;
  readonly threads: number;
  readonly timers: number;
  /** Native objects that were made and not freed. */
  readonly natives: number;
  /** Of a worker: stages that it has in memory, with all that belongs to them. */
  readonly stages: number;
}

interface Probe {
  readonly heapUsed: number;
  readonly heapTotal: number;
  readonly external: number;
  readonly allocated: number;
  readonly timers: number;
  readonly natives: Readonly<Record<NativeKind, number>>;
}

/** Options of Node with which a process can be sampled. */
export const probedNode: readonly string[] = [
  '--expose-gc',
  '--import',
  fileURLToPath(new URL('../../dist/leaks-probe-main.js', import.meta.url)),
];

const probeMs = 30_000;

/** Samples a process that was started with `probedNode`. @throws Error when it does not answer in time */
export async function sampleOf(process: Process): Promise<Sample> {
  const answered = process.nextLine(/^\{"probe":(.*)\}$/u, probeMs);
  process.signal('SIGUSR2');
  const line = (await answered)?.[1];
  if (line === undefined)
    throw new Error(['A process did not say what it holds:', ...process.lines.slice(-20)].join('\n'));
  const { heapUsed, heapTotal, external, allocated, timers, natives } = JSON.parse(line) as Probe;
  const { pid } = process;
  const files = openFiles(pid);
  return {
    rss: residentBytes(pid),
    room: heapTotal,
    heap: heapUsed,
    external,
    allocated,
    files: files.length,
    sockets: files.filter((target) => target.startsWith('socket:')).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    timers,
    natives: Object.values(natives).reduce((sum, count) => sum + count, 0),
    // Each computes on a backend of its own.
    stages: natives.backends,
  };
}

/** What its file descriptors stand for. */
function openFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((name) => {
    try {
      return [readlinkSync(`${folder}/${name}`)];
    } catch {
      // Closed meanwhile.
      return [];
    }
  });
}
