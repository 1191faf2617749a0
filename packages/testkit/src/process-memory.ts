import { readdirSync, readFileSync } from 'node:fs';

/** Resident memory of a process now, from the system. NaN when it is gone or the system does not tell (not Linux). */
export function residentBytes(pid: number): number {
  return memoryOf(pid, /VmRSS:\s+(\d+) kB/);
}

/** The most that it was so far, in the same way. */
export function peakResidentBytes(pid: number): number {
  return memoryOf(pid, /VmHWM:\s+(\d+) kB/);
}

function memoryOf(pid: number, line: RegExp): number {
  try {
    return Number(line.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
  } catch {
    return NaN;
  }
}

/** Processes that a process started and that still run; none when the system does not tell. */
export function childProcessIds(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
