/** Types of cached keys and values, by the names that llama.cpp's `--cache-type-k` gives them. */
export const cacheTypes = ['f16', 'bf16', 'q8_0'] as const;

/** One of `cacheTypes`. */
export type CacheType = (typeof cacheTypes)[number];
