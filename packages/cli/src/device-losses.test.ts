import { existsSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { LogRecord } from './testing/butterfly.js';
import { circleModel, faultyDriver, listedDevices, withDevices } from './testing/devices.js';
import { Folder } from './testing/models.js';
import { Server, streamFrom, type Outcome } from './testing/server.js';

const tokens = 60;
const prompt = 'Once upon a time';
const path = await circleModel();
const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const hasVulkan = (await listedDevices()).some(({ name }) => name === 'vulkan0');
const driver = hasVulkan ? faultyDriver(folder) : null;

const onCpu = async (): Promise<Outcome> => {
  await using server = await new Server(['--workers', '1', '--ctx', '512', '--parallel', '2'], {
    path,
  }).ready();
  return await streamFrom(server, prompt, tokens);
};

describe.runIf(driver)('a graphics card (of software)', () => {
  it('that is lost in mid-step ends its worker, which is told, and the stream goes on', async () => {
    const expected = await onCpu();
    const lost = `${folder.path}/lost`;
    const { outcome, ending } = await withDevices(
      path,
      'vulkan0,cpu',
      ['--stages', '2'],
      async (server) => {
        let hits = 0;
        const streamed = await streamFrom(server, prompt, tokens, (pieces) => {
          if (pieces < 10 || hits > 0) return;
          hits += 1;
          folder.write('lost', '');
        });
        // Another fault of this driver may have come before.
        if (existsSync(lost)) return null;
        const ended = (): LogRecord | null => server.records('A local worker ended.')[0] ?? null;
        return { outcome: streamed, ending: await server.until('the end of the worker', ended) };
      },
      { ...driver, CARD_LOST: lost },
    );
    expect(outcome).toEqual(expected);
    expect(ending).toMatchObject({
      name: 'local-1',
      signal: 'SIGABRT',
      error: expect.stringMatching(/^The driver of vulkan0 ended its process \(SIGABRT\)/u) as string,
    });
  }, 400_000);

  it('that turns out to be full is left out, and the plan is made anew without it', async () => {
    // What is measured fits, and the cache of the stage does not.
    const large = ['--stages', '2', '--ctx', '8192', '--parallel', '8'];
    const { text, workers, warnings } = await withDevices(
      path,
      'vulkan0,cpu',
      large,
      async (server) => {
        const outcome = await streamFrom(server, prompt, 20);
        if (server.records('A local worker ended.').length > 0) return null;
        const cluster = (await (await fetch(`${server.url}/cluster`)).json()) as {
          readonly workers: readonly { readonly name: string }[];
        };
        return {
          text: outcome.text,
          workers: [...cluster.workers].sort((a, b) => a.name.localeCompare(b.name)),
          warnings: server.stderr.join('\n'),
        };
      },
      { ...driver, CARD_BYTES_MAX: String(32 * 2 ** 20) },
    );
    expect((await onCpu()).text.startsWith(text)).toBe(true);
    expect(text.length).toBeGreaterThan(0);
    expect(workers).toMatchObject([
      { name: 'local-1', state: 'leftOut', layers: null, device: { name: 'vulkan0' } },
      { name: 'local-2', state: 'serving', layers: [0, 3], device: { name: 'cpu' } },
    ]);
    expect(warnings).toMatch(/COMPUTE_FAILED.*bytes of Vulkan0 memory could not be allocated/u);
  }, 400_000);
});

it.runIf(!driver)('is left out, as there is no Vulkan driver or C compiler here', () => {
  expect(driver).toBe(null);
});
