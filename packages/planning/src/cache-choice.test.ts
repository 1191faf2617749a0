import { type CacheType, cacheTypes } from '@butterfly/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkCacheWish, chooseCacheType } from './cache-choice.js';

const heads = (size: number) => ({ attention: [{ keySize: size, valueSize: size }] });
const spec = heads(64);
const worker = (f16: number, bf16: number, q8_0: number) => ({ attentionMicros: { f16, bf16, q8_0 } });
const time = fc.double({ min: 1, max: 1e6, noNaN: true });
const anyWorkers = fc.array(fc.tuple(time, time, time), { minLength: 1, maxLength: 8 });

describe('chooseCacheType', () => {
  it.each<[string, ReturnType<typeof worker>[], CacheType]>([
    ['F16 where it is the fastest', [worker(100, 110, 120)], 'f16'],
    ['BF16 where it is the fastest', [worker(100, 50, 60)], 'bf16'],
    ['Q8_0 where it is the fastest', [worker(100, 50, 40)], 'q8_0'],
    ['F16 where all are alike', [worker(100, 100, 100)], 'f16'],
    ['F16 where others are less than 5% faster', [worker(100, 96, 95.5)], 'f16'],
    ['another at 5%', [worker(100, 94.9, 100)], 'bf16'],
    ['BF16 where Q8_0 is as fast', [worker(100, 50, 50)], 'bf16'],
    ['by the sum over all workers', [worker(100, 50, 90), worker(1000, 2000, 500)], 'q8_0'],
  ])('takes %s', (_, workers, type) => {
    expect(chooseCacheType(workers, spec, 'auto').type).toBe(type);
  });

  it('says why', () => {
    expect(chooseCacheType([worker(100, 50, 125)], spec, 'auto').reason).toBe(
      'Attention takes bf16 0.50 and q8_0 1.25 of the time that it takes with f16.',
    );
    expect(chooseCacheType([worker(1, 1, 1)], spec, 'q8_0').reason).toBe('It was asked for.');
  });

  it.each(cacheTypes)('takes %s when it is asked for, however slow', (type) => {
    const slow = { attentionMicros: { f16: 1, bf16: 1, q8_0: 1, [type]: 1e6 } };
    expect(chooseCacheType([slow], spec, type).type).toBe(type);
  });

  it('leaves Q8_0 out where heads are no whole blocks, and refuses it by its reason', () => {
    expect(chooseCacheType([worker(100, 100, 10)], heads(80), 'auto')).toEqual({
      type: 'f16',
      reason: 'Attention takes bf16 1.00 of the time that it takes with f16.',
    });
    expect(() => chooseCacheType([worker(100, 100, 10)], heads(80), 'q8_0')).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('Heads of 80 elements are not whole Q8_0 blocks of 32') as string,
      }),
    );
  });

  it('never takes a type that is slower than F16 in all, and never one that is beaten', () => {
    fc.assert(
      fc.property(anyWorkers, (times) => {
        const workers = times.map((each) => worker(...each));
        const sum = (type: CacheType): number =>
          workers.reduce((total, { attentionMicros }) => total + attentionMicros[type], 0);
        const { type } = chooseCacheType(workers, spec, 'auto');
        if (type !== 'f16') {
          expect(sum(type)).toBeLessThanOrEqual(sum('f16') * 0.95 * (1 + 1e-9));
          for (const other of cacheTypes) expect(sum(type)).toBeLessThanOrEqual(sum(other) * (1 + 1e-9));
        } else for (const other of cacheTypes) expect(sum(other)).toBeGreaterThan(sum('f16') * 0.949);
      }),
    );
  });
});

describe('checkCacheWish', () => {
  it('takes auto and every type', () => {
    for (const wanted of ['auto', ...cacheTypes])
      expect(() => checkCacheWish(heads(128), wanted)).not.toThrow();
  });

  it.each(['', 'F16', 'q4_0', 'x'.repeat(1000)])('refuses %j and names the others', (wanted) => {
    expect(() => checkCacheWish(spec, wanted)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(
          /^There is no KV cache type ".{0,32}"; choose one of auto, f16/,
        ) as string,
      }),
    );
  });
});
