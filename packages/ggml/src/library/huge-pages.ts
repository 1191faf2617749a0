import koffi from 'koffi';
import type { Pointer } from './symbols.js';

const hugePageBytes = 2 * 2 ** 20;
/** MADV_HUGEPAGE of <sys/mman.h>. */
const adviseHugePage = 14;

type Advise = (address: Pointer, bytes: number, advice: number) => number;
let advise: Advise | null | undefined;

function loadAdvise(): Advise | null {
  if (process.platform !== 'linux') return null;
  try {
    return koffi.load(null).func('int madvise(void *, size_t, int)') as Advise;
  } catch {
    return null;
  }
}

/**
 * Asks Linux to back memory that nobody has touched yet with huge pages: weights are streamed through at each step, and
 * small pages cost address translations. A hint only; where it is not taken, all works as before.
 */
export function preferHugePages(address: Pointer, bytes: number): void {
  if (bytes < 2 * hugePageBytes) return;
  advise ??= loadAdvise();
  const page = BigInt(hugePageBytes);
  const start = ((address + page - 1n) / page) * page;
  const end = ((address + BigInt(bytes)) / page) * page;
  if (advise && end > start) advise(start, Number(end - start), adviseHugePage);
}
