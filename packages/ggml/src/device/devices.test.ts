import { describe, expect, it } from 'vitest';
import { ggml } from '../testing/graphs.js';
import { CpuBackend } from './cpu-backend.js';
import { findDevice, listDevices, openDevice, usualDevice, type Device } from './devices.js';

const device = (name: string, kind: Device['kind']): Device => ({
  name,
  kind,
  description: 'made up',
  freeBytes: 1,
  totalBytes: 2,
});
const cpu = device('cpu', 'cpu');

describe('listDevices', () => {
  it('lists the CPU first, with its memory', () => {
    const [first] = listDevices(ggml);
    expect(first).toMatchObject({ name: 'cpu', kind: 'cpu' });
    expect(first?.totalBytes).toBeGreaterThan(2 ** 28);
  });
});

describe('openDevice', () => {
  it('starts the CPU with so many threads', () => {
    using backend = openDevice(ggml, 'cpu', 2);
    expect(backend).toBeInstanceOf(CpuBackend);
    expect(backend.plain).toMatchObject({ isHost: true, isPlain: true });
  });

  it('names those that are there where one is not', () => {
    const error = expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('no device vulkan9 here, but cpu') as unknown,
    }) as Error;
    expect(() => openDevice(ggml, 'vulkan9', 1)).toThrow(error);
    expect(() => findDevice([cpu], 'vulkan9')).toThrow(error);
  });
});

describe('usualDevice', () => {
  it.each([
    ['the CPU alone', [cpu], 'cpu'],
    ['a card beside the CPU', [cpu, device('vulkan0', 'gpu'), device('vulkan1', 'gpu')], 'vulkan0'],
    [
      'a card behind an integrated one',
      [cpu, device('vulkan0', 'integrated'), device('cuda0', 'gpu')],
      'cuda0',
    ],
    ['an integrated one, which is seldom faster', [cpu, device('vulkan0', 'integrated')], 'cpu'],
    ['that of Apple', [cpu, device('metal', 'integrated')], 'metal'],
  ])('of %s', (_, devices, name) => {
    expect(usualDevice(devices).name).toBe(name);
  });
});
