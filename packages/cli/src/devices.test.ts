import { join } from 'node:path';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { circleModel, ifUndisturbed, listedDevices, withDevices } from './testing/devices.js';
import { Folder } from './testing/models.js';
import { Server, streamFrom, type Outcome } from './testing/server.js';

const tokens = 60;
const prompt = 'Once upon a time';
const path = await circleModel();
const devices = await listedDevices();
const hasVulkan = devices.some(({ name }) => name === 'vulkan0');

describe('butterfly devices', () => {
  it('lists the CPU, whatever else there is', async () => {
    const { code, stdout } = await run(['devices']);
    expect(code).toBe(0);
    expect(stdout.join('\n')).toMatch(/^cpu +cpu +[\d.]+ GiB/mu);
  });

  it('names those that are there to whoever asks for another', async () => {
    const { code, stderr } = await run(['worker', '--join', '127.0.0.1:1', '--device', 'vulkan9']);
    expect(code).not.toBe(0);
    expect(stderr.join('\n')).toMatch(/CONFIG_INVALID: There is no device vulkan9 here, but cpu/u);
  });
});

describe.runIf(hasVulkan)('a graphics card (of software)', () => {
  const onCpu = async (): Promise<Outcome> => {
    await using server = await new Server(['--workers', '1', '--ctx', '512', '--parallel', '2'], {
      path,
    }).ready();
    return await streamFrom(server, prompt, tokens);
  };

  it('computes a model alone and beside the CPU, and says what the CPU says', async () => {
    const expected = await onCpu();
    const alone = await withDevices(path, 'vulkan0', [], async (server) => {
      expect(server.stdout.join('\n')).toMatch(/layers 0-\d+, vulkan0/u);
      return ifUndisturbed(server, await streamFrom(server, prompt, tokens));
    });
    expect(alone).toEqual(expected);
    const both = await withDevices(path, 'vulkan0,cpu', ['--stages', '2'], async (server) => {
      const { stages } = server;
      const outcome = ifUndisturbed(server, await streamFrom(server, prompt, tokens));
      if (outcome) expect(stages).toHaveLength(2);
      return outcome;
    });
    expect(both).toEqual(expected);
  }, 400_000);

  it('computes a model whose graph llama.cpp builds, which is another one where llama.cpp sees a card', async () => {
    using folder = new Folder();
    const imported = join(folder.path, 'gemma3.gguf');
    const fixture = architectureFixtures().find(({ name }) => name === 'gemma3');
    if (!fixture) throw new RangeError('there is no fixture gemma3');
    await writeArchitectureModel(imported, fixture, 'Q8_0');
    const outcome = await withDevices(imported, 'vulkan0', [], async (server) => {
      expect(server.stdout.join('\n')).toMatch(/layers 0-7, vulkan0/u);
      return ifUndisturbed(server, await streamFrom(server, prompt, tokens));
    });
    expect(outcome.reason).toBe('length');
    expect(outcome.text.length).toBeGreaterThan(0);
  }, 400_000);

  it('may die in the midst of a stream, which goes on on the CPU', async () => {
    const expected = await onCpu();
    const outcome = await withDevices(path, 'vulkan0,cpu', ['--stages', '2'], async (server) => {
      const gpu = server.records('A local worker starts.').find(({ name }) => name === 'local-1');
      let hits = 0;
      const streamed = await streamFrom(server, prompt, tokens, (pieces) => {
        if (pieces >= 10 && hits === 0) hits += Number(process.kill(Number(gpu?.workerPid), 'SIGKILL'));
      });
      return hits > 0 ? streamed : null;
    });
    expect(outcome).toEqual(expected);
  }, 400_000);
});

it.runIf(!hasVulkan)('is left out, as there is no Vulkan driver here (Debian: mesa-vulkan-drivers)', () => {
  expect(devices.map(({ kind }) => kind)).toContain('cpu');
});
