import koffi from 'koffi';

/** Of glibc: gives pages back that hold nothing, and tells how much is given out. */
interface Allocator {
  trim(padBytes: number): number;
  info(): { readonly used: number; readonly mapped: number };
}
let allocator: Allocator | null | undefined;

function loadAllocator(): Allocator | null {
  // `struct mallinfo2` of malloc.h.
  const fields = [
    'arena',
    'free',
    'fastChunks',
    'mappings',
    'mapped',
    'most',
    'fastFree',
    'used',
    'unused',
    'top',
  ];
  const info = koffi.struct(Object.fromEntries(fields.map((name) => [name, 'size_t'])));
  try {
    const library = koffi.load(null);
    return {
      trim: library.func('malloc_trim', 'int', ['size_t']) as Allocator['trim'],
      info: library.func('mallinfo2', info, []) as Allocator['info'],
    };
  } catch {
    // Another C library.
    return null;
  }
}

/** Bytes that the allocator of native code has given out and not got back; what is free it gives back first. 0 where it does not tell. */
export function allocatedBytes(): number {
  allocator ??= loadAllocator();
  allocator?.trim(0);
  const { used, mapped } = allocator?.info() ?? { used: 0, mapped: 0 };
  return used + mapped;
}
