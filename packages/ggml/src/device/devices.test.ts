import { describe, expect, it } from 'vitest';
import { ggml } from '../testing/graphs.js';
import { CpuBackend } from './cpu-backend.js';
import { findDevice, listDevices, openDevice, usualDevices, type Device } from './devices.js';

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

describe('usualDevices', () => {
  const named = (name: string, description: string): Device => ({ ...device(name, 'gpu'), description });
  const nvidia = 'NVIDIA GeForce RTX 4090';
  it.each<[string, readonly Device[], string]>([
    ['the CPU alone', [cpu], 'cpu'],
    ['cards beside the CPU', [cpu, device('vulkan0', 'gpu'), device('vulkan1', 'gpu')], 'vulkan0,vulkan1'],
    [
      'a card behind an integrated one',
      [cpu, device('vulkan0', 'integrated'), device('cuda0', 'gpu')],
      'cuda0',
    ],
    ['an integrated one, which is seldom faster', [cpu, device('vulkan0', 'integrated')], 'cpu'],
    ['that of Apple', [cpu, device('metal', 'integrated')], 'metal'],
    [
      'one that two backends find, beside one of another maker',
      [cpu, named('cuda0', nvidia), named('vulkan0', nvidia), named('vulkan1', 'AMD Radeon RX 7900 XTX')],
      'cuda0,vulkan1',
    ],
    [
      'one of AMD with ROCm, beside one of another maker',
      [cpu, named('vulkan0', 'AMD Radeon Pro'), named('vulkan1', nvidia), named('rocm0', 'AMD Radeon Pro')],
      'vulkan1,rocm0',
    ],
  ])('of %s', (_, devices, names) => {
    expect(
      usualDevices(devices)
        .map(({ name }) => name)
        .join(),
    ).toBe(names);
  });
});
