import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowedCpus, coreOf, parseCpuList, pinToCpus } from './affinity.js';

const invalid = expect.objectContaining({ code: 'CONFIG_INVALID' }) as Error;
const isLinux = process.platform === 'linux';

describe('parseCpuList', () => {
  it.each([
    ['0', [0]],
    ['0-1,4', [0, 1, 4]],
    ['4,0-1,1', [0, 1, 4]],
    [' 8191\n', [8191]],
  ])('reads %j', (text, cpus) => {
    expect(parseCpuList(text)).toEqual(cpus);
  });

  it.each(['', ',', '1,', '-1', '1-', '2-1', 'a', '0x1', '1.5', '8192', '0-99999', '123456', '0 1'])(
    'refuses %j',
    (text) => {
      expect(() => parseCpuList(text)).toThrow(invalid);
    },
  );

  it('reads back whatever is written as a list', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(300), { minLength: 1 }), (cpus) => {
        expect(parseCpuList(cpus.join())).toEqual([...cpus].sort((a, b) => a - b));
      }),
    );
  });
});

describe.runIf(isLinux)('on Linux', () => {
  it('knows the CPUs of this process, and a core of each', () => {
    const cpus = allowedCpus() ?? [];
    expect(cpus.length).toBeGreaterThan(0);
    for (const cpu of cpus) expect(coreOf(cpu)).toBeLessThanOrEqual(cpu);
    expect(coreOf(8000)).toBe(8000);
  });

  it.each([[[]], [[8191]], [[0, 8000]]])('refuses %j', (cpus) => {
    expect(() => pinToCpus(cpus)).toThrow(invalid);
  });

  it('pins every thread, those that run already and those that come', async () => {
    const before = allowedCpus() ?? [];
    const cpu = before.at(-1) ?? 0;
    pinToCpus([cpu]);
    // A file read starts threads of libuv's pool where none were.
    await readFile('/proc/self/status');
    const lists = readdirSync('/proc/self/task').map(
      (id) => /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`/proc/self/task/${id}/status`, 'utf8'))?.[1],
    );
    expect(lists.length).toBeGreaterThan(4);
    expect(new Set(lists)).toEqual(new Set([String(cpu)]));
    expect(spawnSync('nproc').stdout.toString().trim()).toBe('1');
    if (before.length > 1) expect(() => pinToCpus(before)).toThrow(invalid);
  });
});

it.runIf(!isLinux)('refuses to pin elsewhere', () => {
  expect(allowedCpus()).toBeNull();
  expect(() => pinToCpus([0])).toThrow(invalid);
});
