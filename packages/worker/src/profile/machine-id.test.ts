import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, type NetworkInterfaceInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { machineId } from './machine-id.js';

const network = vi.hoisted(() => ({ macs: ['02:00:00:00:00:01'] }));
vi.mock('node:os', async (original) => ({
  ...(await original<typeof import('node:os')>()),
  networkInterfaces: () => ({ eth0: network.macs.map((mac) => ({ mac }) as NetworkInterfaceInfo) }),
}));

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'butterfly-machine-'))));
afterEach(() => {
  network.macs = ['02:00:00:00:00:01'];
  rmSync(directory, { recursive: true });
});

it('stays the same when network cards come and go', async () => {
  const id = await machineId(directory);
  network.macs.push('02:00:00:00:00:02');
  expect(await machineId(directory)).toBe(id);
});

it('is one for all workers that start at once, and another one elsewhere', async () => {
  const cache = join(directory, 'not', 'there', 'yet');
  const ids = await Promise.all(Array.from({ length: 8 }, () => machineId(cache)));
  expect(new Set(ids).size).toBe(1);
  expect(readdirSync(cache)).toEqual(['machine-id']);
  expect(await machineId(directory)).not.toBe(ids[0]);
});

it('is of the network cards where nothing can be kept', async () => {
  const file = join(directory, 'a file');
  writeFileSync(file, '');
  const id = await machineId(null);
  expect(id).toMatch(/^[0-9a-f]{16}$/);
  expect(await machineId(join(file, 'no folder'))).toBe(id);
  network.macs.push('02:00:00:00:00:02');
  expect(await machineId(null)).not.toBe(id);
});
