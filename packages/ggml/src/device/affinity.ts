import { readdirSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { ButterflyError } from '@butterfly/common';

/** Bits of the masks: more than the largest machine has. */
const cpusMax = 8192;
/** ESRCH of <errno.h>: a thread that ended meanwhile. */
const noSuchThread = 3;

/**
 * The CPUs of a list as the kernel writes it, such as `0-1,4`, in ascending order.
 * @throws ButterflyError CONFIG_INVALID
 */
export function parseCpuList(text: string): number[] {
  const cpus = new Set<number>();
  for (const range of text.trim().split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? first);
    if (!match || last < first || last >= cpusMax)
      throw new ButterflyError(
        'CONFIG_INVALID',
        `"${text.slice(0, 64)}" is no list of CPUs below ${cpusMax}, such as 0-1,4.`,
      );
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** The CPUs that this process may run on; null where the system does not tell. */
export function allowedCpus(): number[] | null {
  if (process.platform !== 'linux') return null;
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return list === undefined ? null : parseCpuList(list);
}

/** The first CPU of the core that this CPU is a thread of; itself where the system does not tell. */
export function coreOf(cpu: number): number {
  try {
    const siblings = `/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`;
    return parseCpuList(readFileSync(siblings, 'utf8'))[0] ?? cpu;
  } catch {
    return cpu;
  }
}

/**
 * Lets this process run on these CPUs alone: all threads that it has, and with them those that they will start.
 * @throws ButterflyError CONFIG_INVALID for CPUs that the process may not use, or where the platform cannot pin.
 */
export function pinToCpus(cpus: readonly number[]): void {
  const allowed = allowedCpus();
  if (allowed === null)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `Processes can be pinned to CPUs on Linux only, not on ${process.platform}; leave --cpus out.`,
      { param: 'cpus' },
    );
  const foreign = cpus.filter((cpu) => !allowed.includes(cpu));
  if (foreign.length > 0)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `CPU ${foreign.join(', ')} cannot be used by this process; choose among ${allowed.join(', ')}.`,
      { param: 'cpus' },
    );
  const mask = new Uint8Array(cpusMax / 8);
  for (const cpu of cpus) mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  const setAffinity = koffi
    .load(null)
    .func('int sched_setaffinity(int, size_t, const uint8_t *)') as SetAffinity;
  // Threads that were started while the others were pinned are seen by another look.
  const pinned = new Set<string>();
  for (let before = -1; before < pinned.size;) {
    before = pinned.size;
    for (const thread of readdirSync('/proc/self/task').filter((id) => !pinned.has(id))) {
      const isDone = setAffinity(Number(thread), mask.length, mask) === 0;
      if (!isDone && koffi.errno() !== noSuchThread)
        throw new ButterflyError(
          'CONFIG_INVALID',
          `The system did not let a thread be pinned to CPU ${cpus.join(', ')} (error ${koffi.errno()}); leave --cpus out.`,
          { param: 'cpus' },
        );
      pinned.add(thread);
    }
  }
}

type SetAffinity = (thread: number, maskBytes: number, mask: Uint8Array) => number;
