import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';

/** Mappings that are larger than any test's model are of something else. */
const mappingBytesMax = 256 * 2 ** 20;

/**
 * Changes bytes wherever they lie in the writable memory of a process, as a bad memory does.
 * @returns at how many places they were found
 */
export function corruptMemory(pid: number, bytes: Uint8Array, changed: Uint8Array): number {
  const memory = openSync(`/proc/${pid}/mem`, 'r+');
  let found = 0;
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) rw/u.exec(line) ?? [];
      if (start === undefined || end === undefined) continue;
      // Addresses of processes have 47 bits.
      const from = Number.parseInt(start, 16);
      const length = Number.parseInt(end, 16) - from;
      if (length > mappingBytesMax) continue;
      const mapped = Buffer.alloc(length);
      try {
        readSync(memory, mapped, 0, length, from);
      } catch {
        // Some are of the kernel's, and not to be read.
        continue;
      }
      for (let at = mapped.indexOf(bytes); at !== -1; at = mapped.indexOf(bytes, at + 1)) {
        writeSync(memory, changed, 0, changed.length, from + at);
        found += 1;
      }
    }
  } finally {
    closeSync(memory);
  }
  return found;
}
