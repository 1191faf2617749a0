import { mkdtempSync, rmSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGpuBackends, findLibraries } from './platform.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'butterfly-platform-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const missing = (...words: string[]): unknown =>
  expect.objectContaining({
    code: 'LIBRARY_MISSING',
    message: expect.stringMatching(new RegExp(words.join('.*'))) as string,
  });

/** A folder that holds empty files of these names. */
function holding(...names: string[]): string {
  const made = mkdtempSync(join(folder, 'libraries-'));
  for (const name of names) writeFileSync(join(made, name), '');
  return made;
}

describe('findLibraries', () => {
  it('finds the package of this platform', () => {
    const { directory, base, ggml, llama } = findLibraries(undefined);
    expect([base, ggml, llama].map(dirname)).toEqual([directory, directory, directory]);
    expect(basename(base)).toMatch(/ggml-base/);
    expect(basename(llama)).toMatch(/llama/);
  });

  it('names the package and the override when the package is not there', () => {
    // Installed on no machine that runs these tests, except on its own platform.
    const platform = process.platform === 'win32' ? 'linux-arm64' : 'win32-arm64';
    const name = process.platform === 'win32' ? 'linux-arm64' : 'win-arm64';
    expect(() => findLibraries(undefined, platform)).toThrow(
      missing(`npm install @node-llama-cpp/${name}`, 'BUTTERFLY_GGML_DIR'),
    );
  });

  it('names the override for a platform without a package', () => {
    expect(() => findLibraries(undefined, 'sunos-x64')).toThrow(missing('sunos-x64', 'BUTTERFLY_GGML_DIR'));
  });

  it.each([
    ['Linux', ['libggml-base.so', 'libggml.so', 'libllama.so']],
    ['a release', ['libggml-base.so', 'libggml.v0.5.0.so', 'libllama.v0.5.0.so']],
    ['macOS', ['libggml-base.dylib', 'libggml.dylib', 'libllama.dylib']],
    ['Windows', ['ggml-base.dll', 'ggml.dll', 'llama.dll']],
  ])('takes the names of %s in a given folder, and no others', (_, names) => {
    const given = holding('libggml-cpu-x64.so', 'libllama-common.so', 'libllama.so.bak', ...names);
    const { base, ggml, llama } = findLibraries(given);
    expect([base, ggml, llama]).toEqual(names.map((name) => join(given, name)));
  });

  it.each([
    ['ggml-base', ['libggml.so', 'libllama.so']],
    ['ggml', ['libggml-base.so', 'libllama.so']],
    ['llama', ['libggml-base.so', 'libggml.so', 'libllama-common.so']],
  ])('names %s when only that is missing', (stem, names) => {
    expect(() => findLibraries(holding(...names))).toThrow(
      missing(`no ${stem} library`, 'BUTTERFLY_GGML_DIR'),
    );
  });

  it('refuses what is no folder', () => {
    const file = join(holding('libllama.so'), 'libllama.so');
    for (const path of [file, join(folder, 'nowhere')])
      expect(() => findLibraries(path)).toThrow(missing(`${path} is not a folder`, 'BUTTERFLY_GGML_DIR'));
  });
});

describe('findGpuBackends', () => {
  const filesOf = (libraries: string, backends: string | null): string[] =>
    findGpuBackends({ libraries, backends }, 'linux-x64').flatMap(({ files }) => files);

  it('finds what was brought, the newer first, and nothing where there is nothing', () => {
    const backends = mkdtempSync(join(folder, 'backends-'));
    expect(filesOf(holding('libggml-vulkan.so'), backends)).toEqual([]);
    for (const name of ['cuda12', 'cuda', 'another']) {
      mkdirSync(join(backends, name));
      writeFileSync(join(backends, name, 'libggml-cuda.so'), '');
    }
    expect(filesOf(holding('libggml-vulkan.so'), backends)).toEqual(
      ['cuda', 'cuda12'].map((name) => join(backends, name, 'libggml-cuda.so')),
    );
    expect(findGpuBackends({ libraries: folder, backends }, 'sunos-x64')).toEqual([]);
  });

  it('leaves out what a build of one’s own has', () => {
    const backends = mkdtempSync(join(folder, 'backends-'));
    mkdirSync(join(backends, 'cuda'));
    writeFileSync(join(backends, 'cuda', 'libggml-cuda.so'), '');
    expect(filesOf(holding('libggml-cuda.so', 'libggml-vulkan.so'), backends)).toEqual([]);
  });
});
