import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { expectedVersions } from '@butterfly/ggml';
import { binariesIfGiven, openBinaries } from './binaries.js';

const wanted: Readonly<Record<string, unknown>> = {
  param: 'llama-bin',
  message: expect.stringContaining('docs/performance.md says how to build'),
};

// Programs of other releases are scripts that say so; those of the right one are built by hand, and tried there.
describe.skipIf(process.platform === 'win32')('the folder with programs of llama.cpp', () => {
  let folder = '';
  const folders: string[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'butterfly-llama-bin-'));
    folders.push(folder);
  });
  afterAll(() => Promise.all(folders.map((each) => rm(each, { recursive: true, force: true }))));

  async function program(name: string, script: string): Promise<void> {
    await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(folder, name), 0o755);
  }

  async function refusal(): Promise<unknown> {
    return openBinaries(folder).catch((thrown: unknown) => thrown);
  }

  it('may be left out where it is not all that is measured', async () => {
    expect(await binariesIfGiven(null)).toBeNull();
    await expect(openBinaries(null)).rejects.toMatchObject({ ...wanted, code: 'CONFIG_INVALID' });
  });

  it('must be there, and have both', async () => {
    await expect(openBinaries(join(folder, 'nowhere'))).rejects.toMatchObject({
      ...wanted,
      code: 'CONFIG_INVALID',
    });
    await program('llama-server', 'exit 0');
    expect(await refusal()).toMatchObject({ ...wanted, code: 'CONFIG_INVALID' });
    expect(String(await refusal())).toContain('has no ggml-rpc-server that can be run');
  });

  it('must have programs that run', async () => {
    await program('llama-server', 'echo "no such library" >&2; exit 127');
    await program('ggml-rpc-server', 'exit 0');
    expect(await refusal()).toMatchObject({ ...wanted, code: 'CONFIG_INVALID' });
    expect(String(await refusal())).toContain('no such library');
  });

  it.each([
    ['0.6.0 (build 9, commit abc)', 'is of release 0.6.0, and'],
    ['0.50.0-dev (build 9, commit abc)', 'is of release 0.50.0-dev, and'],
    ['', 'is of release unknown'],
  ])('must be of the release that is called here, not %s', async (version, message) => {
    await program('llama-server', `echo "version: ${version}" >&2`);
    await program('ggml-rpc-server', 'exit 0');
    expect(await refusal()).toMatchObject({ ...wanted, code: 'LIBRARY_MISMATCH' });
    expect(String(await refusal())).toContain(message);
  });

  it('must have a worker that listens', async () => {
    await program(
      'llama-server',
      `echo "version: ${expectedVersions.llama}-dev (build 1, commit de3ff81)" >&2`,
    );
    await program('ggml-rpc-server', 'echo "no devices" >&2; exit 1');
    expect(await refusal()).toMatchObject({ ...wanted, code: 'CONFIG_INVALID' });
    expect(String(await refusal())).toContain('no devices');
  });

  it('must have a server that understands its worker', async () => {
    await program(
      'llama-server',
      `case "$1" in --version) echo "version: ${expectedVersions.llama}";; *) echo "RPC server version mismatch: 3.0.0" >&2;; esac`,
    );
    const listen = `require('node:net').createServer().listen(Number(process.argv[4]), '127.0.0.1')`;
    await program('ggml-rpc-server', `exec "${process.execPath}" -e "${listen}" -- "$@"`);
    expect(await refusal()).toMatchObject({ ...wanted, code: 'LIBRARY_MISMATCH' });
    expect(String(await refusal())).toContain('version mismatch: 3.0.0');
  });
});
