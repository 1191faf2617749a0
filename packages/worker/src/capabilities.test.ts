import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cacheTypes, decodeControl, encodeControl, type Frame } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { describeWorker, measureWeightSpeed } from './capabilities.js';
import { measureAttention } from './capabilities-attention.js';
import { ggml } from './stage/testing.js';

describe('measureWeightSpeed', () => {
  it('finds a speed between that of a memory card and that of any memory', async () => {
    const speed = await measureWeightSpeed(ggml, 1);
    expect(speed).toBeGreaterThan(10e6);
    expect(speed).toBeLessThan(10e12);
  });
});

describe('measureAttention', () => {
  it.each([1, 2])('finds a time for each type of cache, with threads %i', async (threads) => {
    const micros = await measureAttention(ggml, threads);
    expect(Object.keys(micros)).toEqual([...cacheTypes]);
    for (const type of cacheTypes) {
      expect(micros[type]).toBeGreaterThan(1);
      expect(micros[type]).toBeLessThan(1e6);
    }
  });
});

describe('describeWorker', () => {
  it('tells of this machine what an orchestrator takes', async () => {
    const options = { name: 'a worker', threads: 1, memoryBytes: 2 ** 33, version: '1.2.3' };
    const described = await describeWorker(ggml, options);
    expect(described).toMatchObject({
      name: 'a worker',
      threads: 1,
      memoryBytes: 2 ** 33,
      butterflyVersion: '1.2.3',
      ggmlVersion: ggml.ggmlVersion,
      platform: process.platform,
      arch: process.arch,
    });
    expect((await describeWorker(ggml, options)).machineId).toBe(described.machineId);
    const hello = { kind: 'hello', token: null, worker: { ...described, dataPort: 1 } } as const;
    expect(() => encodeControl(hello)).not.toThrow();
    const header = Buffer.from(JSON.stringify(hello));
    const frame: Frame = { type: 'control', header, payload: new Uint8Array(0) };
    expect(decodeControl(frame)).toEqual(hello);
  });

  it.runIf(process.platform === 'linux')('names the variant of the CPU library that is in use', async () => {
    const options = { name: 'a worker', threads: 1, memoryBytes: 1, version: '1' };
    const { cpuVariant } = await describeWorker(ggml, options);
    const names = cpuVariant === 'generic' ? ['libggml-cpu.so'] : [`libggml-cpu-${cpuVariant}.so`];
    expect(names.some((name) => existsSync(join(ggml.directory, name)))).toBe(true);
  });
});
