import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expectedVersions } from '@butterfly/ggml';
import { backendPackages } from 'butterfly/command';
import { afterAll, describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Folder } from './testing/models.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());
const environment = { XDG_DATA_HOME: folder.path };
const backends = join(folder.path, 'butterfly', 'backends', `ggml-${expectedVersions.ggml}`);
const isOffered = backendPackages[`${process.platform}-${process.arch}`] !== undefined;

describe.runIf(isOffered)('butterfly setup', () => {
  it('lists what there is, and asks before it downloads', async () => {
    const listed = await run(['setup'], environment);
    expect(listed.code).toBe(0);
    expect(listed.stdout.join('\n')).toMatch(/^cuda +no +136\.3 MiB +151\.6 MiB +@node-llama-cpp\//mu);
    expect(listed.stdout.at(-1)).toBe(`They go to ${backends}.`);
    const asked = await run(['setup', 'cuda', '--registry', 'http://127.0.0.1:9'], environment);
    expect(asked.code).toBe(2);
    expect(asked.stderr).toEqual([
      `@node-llama-cpp/linux-x64-cuda@3.22.1 from http://127.0.0.1:9: 136.3 MiB to download, 151.6 MiB in ${backends}.`,
      'butterfly: CONFIG_INVALID: Nobody is there to say yes; add --yes to download that.',
    ]);
  });

  it('asks the registry that npm is configured for, and says what that lacks', async () => {
    const asked: (string | undefined)[] = [];
    const registry = createServer((request, response) => {
      asked.push(request.url);
      response.writeHead(404).end();
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}/npm`;
    const { code, stderr } = await run(['setup', 'cuda', '--yes'], {
      ...environment,
      npm_config_registry: `${url}/`,
    });
    registry.close();
    expect(code).toBe(2);
    const path = '/@node-llama-cpp/linux-x64-cuda/-/linux-x64-cuda-3.22.1.tgz';
    expect(asked).toEqual([`/npm${path}`]);
    expect(stderr.at(-1)).toBe(`butterfly: NOT_FOUND: There is no ${url}${path}; use another --registry.`);
  });

  it('has a library that does not load cost a warning with the remedy, which removes it', async () => {
    mkdirSync(join(backends, 'cuda'), { recursive: true });
    writeFileSync(join(backends, 'cuda', 'libggml-cuda.so'), 'no library');
    const listed = await run(['devices', '--json'], environment);
    expect(listed.code).toBe(0);
    expect(JSON.parse(listed.stdout.join('\n'))).toMatchObject([{ name: 'cpu' }]);
    expect(listed.stderr.join('\n')).toMatch(
      /libggml-cuda\.so.*This GPU backend could not be loaded\. Install the driver of NVIDIA.*setup cuda cuda12 --remove/u,
    );
    const removed = await run(['setup', 'cuda', 'cuda12', '--remove'], environment);
    expect(removed.stdout).toEqual(['cuda is removed.', 'cuda12 was not there.']);
    expect((await run(['devices', '--json'], environment)).stderr.join('\n')).not.toMatch(/cuda/u);
  });
});

it.each([
  [['setup', 'rocm'], /^butterfly: NOT_FOUND: There is no backend rocm to bring for .*BUTTERFLY_GGML_DIR/u],
  [['setup', '--remove'], /^butterfly: CONFIG_INVALID: Name what to remove/u],
])('%j is refused', async (args, message) => {
  const { code, stderr } = await run(args, environment);
  expect(code).toBe(2);
  expect(stderr.at(-1)).toMatch(message);
});
