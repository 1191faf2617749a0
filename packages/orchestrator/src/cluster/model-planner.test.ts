import { fileURLToPath } from 'node:url';
import type { Logger } from '@butterfly/common';
import { silentLogger } from '@butterfly/common';
import { cacheBytesPerSlot, describeModel, openGguf } from '@butterfly/model';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Member } from './controller.js';
import { modelPlanner } from './model-planner.js';

const path = fileURLToPath(new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url));
let spec: ReturnType<typeof describeModel>;
beforeAll(async () => {
  spec = describeModel(await openGguf(path));
});

const member = (workerId: string, f16: number, bf16: number, memoryBytes = 2 ** 30): Member => ({
  workerId,
  name: workerId,
  memoryBytes,
  weightBytesPerSecond: 1e9,
  attentionMicros: { f16, bf16, q8_0: 1 },
});
const plannerFor = (kvCacheType?: string, log: Logger = silentLogger) =>
  modelPlanner({ spec, arenaSlots: 1024, rowsMax: 64, kvCacheType, log });

describe('modelPlanner', () => {
  it('chooses the cache for the workers of the first plan, says why once, and keeps it', () => {
    const told: unknown[] = [];
    const log = { ...silentLogger, info: (...line: unknown[]) => void told.push(line) };
    const plan = plannerFor(undefined, log);
    expect(plan([member('a', 10, 5)]).cacheType).toBe('bf16');
    expect(plan([member('a', 10, 5), member('b', 10, 500)]).cacheType).toBe('bf16');
    expect(plan([member('b', 10, 500)]).cacheType).toBe('bf16');
    expect(told).toEqual([
      [
        { cacheType: 'bf16' },
        'The KV cache is bf16. Attention takes bf16 0.50 of the time that it takes with f16.',
      ],
    ]);
  });

  it('chooses again after a plan that could not be made, since no number came of it', () => {
    const plan = plannerFor();
    expect(() => plan([member('a', 10, 5, 1000)])).toThrow(
      expect.objectContaining({ code: 'MODEL_TOO_LARGE' }),
    );
    expect(plan([member('b', 10, 20)]).cacheType).toBe('f16');
    expect(plan([member('a', 10, 5)]).cacheType).toBe('f16');
  });

  it('takes what is asked for, and counts the memory that it takes', () => {
    const bytesOf = (kvCacheType: string, slots: number): number =>
      modelPlanner({
        spec: { ...spec, headSize: 64 },
        arenaSlots: slots,
        rowsMax: 64,
        kvCacheType,
        log: silentLogger,
      })([member('a', 10, 5)]).stages[0]?.bytes ?? NaN;
    for (const type of ['f16', 'bf16', 'q8_0'] as const)
      expect(bytesOf(type, 2048) - bytesOf(type, 1024)).toBe(
        1024 * spec.layers * cacheBytesPerSlot({ kvHeads: spec.kvHeads, headSize: 64 }, type),
      );
  });

  it.each([
    ['q8_0', /Heads of 16 elements/],
    ['q4_0', /no KV cache type "q4_0"/],
  ])('refuses %s before there is any worker', (kvCacheType, message) => {
    expect(() => plannerFor(kvCacheType)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});
