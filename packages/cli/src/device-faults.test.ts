import { execFile } from 'node:child_process';
import { readdirSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cachedArchitectureModel, architectureFixtures } from '@butterfly/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { driverTries, listedDevices, softwareCard } from './testing/devices.js';
import { Folder } from './testing/models.js';

const devices = await listedDevices();
const hasVulkan = devices.some(({ name }) => name === 'vulkan0');
const fixture = architectureFixtures().find(({ name }) => name === 'qwen3moe');
if (!fixture) throw new RangeError('there is no fixture qwen3moe');
const path = await cachedArchitectureModel(fixture, 'Q8_0');
const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

/** Has Vulkan look for its driver here alone. */
const driverAt = (file: string): Record<string, string> => ({
  ...softwareCard,
  VK_DRIVER_FILES: file,
  VK_ICD_FILENAMES: file,
});

describe.runIf(hasVulkan)('a bad driver', () => {
  const broken = folder.write('libbroken.so', 'no library');
  const icd = { file_format_version: '1.0.0', ICD: { library_path: broken, api_version: '1.3.0' } };
  it.each([
    ['is missing', `${folder.path}/missing.json`],
    ['is not described', folder.write('nothing.json', 'no JSON')],
    ['cannot be loaded', folder.write('broken.json', JSON.stringify(icd))],
  ])('that %s costs a warning, and the CPU is there', async (_, file) => {
    const listed = await run(['devices', '--json'], driverAt(file));
    expect(listed.code).toBe(0);
    expect(JSON.parse(listed.stdout.join('\n'))).toMatchObject([{ name: 'cpu' }]);
    expect(listed.stderr.join('\n')).toMatch(
      /could not be loaded\. Install the Vulkan loader and the driver/u,
    );
    const asked = await run(['worker', '--join', '127.0.0.1:1', '--device', 'vulkan0'], driverAt(file));
    expect(asked.code).not.toBe(0);
    expect(asked.stderr.join('\n')).toMatch(/CONFIG_INVALID: There is no device vulkan0 here, but cpu/u);
  });
});

/** Of the libraries. */
function packageFolder(name: string): string {
  const { resolve } = createRequire(import.meta.url);
  return dirname(dirname(resolve(`@node-llama-cpp/${name}`)));
}

describe.runIf(hasVulkan && process.platform === 'linux')('a build of one’s own', () => {
  it('has its own backends used, once', async () => {
    const own = new Folder();
    try {
      for (const [name, wanted] of [
        ['linux-x64', /ggml|llama/u],
        ['linux-x64-vulkan', /ggml-vulkan/u],
      ] as const) {
        const libraries = join(packageFolder(name), 'bins', name);
        for (const file of readdirSync(libraries).filter((each) => wanted.test(each)))
          symlinkSync(join(libraries, file), join(own.path, file));
      }
      const listed = await run(['devices', '--json'], { ...softwareCard, BUTTERFLY_GGML_DIR: own.path });
      expect(listed.stderr).toEqual([]);
      expect(JSON.parse(listed.stdout.join('\n'))).toMatchObject([{ name: 'cpu' }, { name: 'vulkan0' }]);
    } finally {
      own[Symbol.dispose]();
    }
  });
});

/** Asks a card for a cache that no buffer of it can have, and then for one that it can. */
const program = `
import { silentLogger } from '@butterfly/common';
import { loadGgml, loadGpus } from '@butterfly/ggml';
import { describeAny, surveyInChild } from '@butterfly/llama-graph';
import { openGguf } from '@butterfly/model';
import { StageRuntime } from '@butterfly/stage';

const ggml = loadGgml({ log: silentLogger });
loadGpus(ggml, { backends: null, log: silentLogger });
const spec = await describeAny(await openGguf(process.argv[1]), (request) => surveyInChild(request, { ggmlDirectory: undefined }));
const range = { layerStart: 0, layerEnd: spec.layers };
const open = (arenaSlots) =>
  new StageRuntime({ ggml, spec, range, device: 'vulkan0', threads: 1, hostExperts: spec.layers, arenaSlots, cacheType: 'f16', rowsMax: 8 });
let told;
try {
  open(2 ** 26);
} catch ({ code, message }) {
  told = { code, message };
}
const stage = open(256);
console.log(JSON.stringify({ ...told, ...stage.memory }));
stage[Symbol.dispose]();
`;

interface Told {
  readonly code?: string;
  readonly message?: string;
  readonly deviceBytes: number;
  readonly hostBytes: number;
}

async function fillCard(): Promise<Told> {
  for (let attempt = 1; ; attempt++)
    try {
      const args = ['--input-type=module', '--eval', program, path];
      const options = { cwd: import.meta.dirname, env: { ...process.env, ...softwareCard } };
      const { stdout } = await promisify(execFile)(process.execPath, args, options);
      return JSON.parse(stdout) as Told;
    } catch (thrown) {
      const isOfDriver = thrown instanceof Error && 'signal' in thrown && thrown.signal !== null;
      if (!isOfDriver || attempt === driverTries) throw thrown;
      console.log(`The driver ended its process; try ${attempt} of ${driverTries}.`);
    }
}

it.runIf(hasVulkan)(
  'a card that is full refuses a stage, says what to do, and takes a smaller one',
  async () => {
    const { code, message, deviceBytes, hostBytes } = await fillCard();
    expect(code).toBe('COMPUTE_FAILED');
    expect(message).toMatch(/bytes of Vulkan0 memory could not be allocated; .*--memory.*--device cpu/u);
    expect(deviceBytes).toBeGreaterThan(0);
    expect(hostBytes).toBeGreaterThan(0);
  },
);

it.runIf(!hasVulkan)('is left out, as there is no Vulkan driver here (Debian: mesa-vulkan-drivers)', () => {
  expect(devices.map(({ kind }) => kind)).toContain('cpu');
});
