import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ggml } from '@butterfly/stage/testing';
import { type Frame, decodeControl, encodeControl } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { cpuVariant, describeWorker } from './capabilities.js';

describe('describeWorker', () => {
  it('tells of this machine what an orchestrator takes', () => {
    const options = {
      name: 'a worker',
      threads: 1,
      memoryBytes: 2 ** 33,
      version: '1.2.3',
      machineId: 'here',
    };
    const described = describeWorker(ggml, options);
    expect(described).toMatchObject({
      name: 'a worker',
      machineId: 'here',
      threads: 1,
      memoryBytes: 2 ** 33,
      butterflyVersion: '1.2.3',
      ggmlVersion: ggml.ggmlVersion,
      platform: process.platform,
      arch: process.arch,
    });
    const worker = { ...described, dataPort: 1 };
    const hello = { kind: 'hello', token: null, worker } as const;
    expect(() => encodeControl(hello)).not.toThrow();
    const header = Buffer.from(JSON.stringify(hello));
    const frame: Frame = { type: 'control', header, payload: new Uint8Array(0) };
    expect(decodeControl(frame)).toEqual(hello);
  });

  it.runIf(process.platform === 'linux')('names the variant of the CPU library that is in use', () => {
    const variant = cpuVariant();
    const name = variant === 'generic' ? 'libggml-cpu.so' : `libggml-cpu-${variant}.so`;
    expect(existsSync(join(ggml.directory, name))).toBe(true);
  });
});
