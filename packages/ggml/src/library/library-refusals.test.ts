import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { silentLogger } from '@butterfly/common';
import { afterAll, expect, it } from 'vitest';
import { expectedVersions, loadGgml } from './library.js';
import { findLibraries } from './platform.js';

// Each test file is a process of its own, and nothing here ever loads: so every case meets an empty process, but for
// the libraries of the cases before it, which come from other paths.

const real = findLibraries(undefined);
const extension = basename(real.base).split('.').pop() ?? '';
const names = {
  base: `libggml-base.${extension}`,
  ggml: basename(real.ggml),
  llama: basename(real.llama),
};

const made: string[] = [];
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true });
});

/** A folder with these libraries under the names of the real ones. */
function folderOf(libraries: Readonly<Record<keyof typeof names, string | Uint8Array>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'butterfly-library-'));
  made.push(folder);
  for (const which of ['base', 'ggml', 'llama'] as const) {
    const path = join(folder, names[which]);
    const content = libraries[which];
    if (typeof content === 'string') symlinkSync(content, path);
    else writeFileSync(path, content, { mode: 0o755 });
  }
  return folder;
}

/** A copy of a library that says that it is of another version. */
function withVersion(path: string, version: string, other: string): Uint8Array {
  const bytes = readFileSync(path);
  // The string itself, rather than the names of files with the version in them.
  const at = bytes.indexOf(Buffer.from(`\0${version}`));
  expect(at).toBeGreaterThan(0);
  bytes.write(other, at + 1, 'latin1');
  return bytes;
}

const refusal = (code: string, ...words: string[]): unknown =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(new RegExp(words.join('.*'), 's')) as string,
  });

const load = (directory: string) => () => loadGgml({ directory, log: silentLogger });

it('refuses a library that is none', () => {
  const folder = folderOf({ ...real, base: new TextEncoder().encode('not a library') });
  expect(load(folder)).toThrow(refusal('LIBRARY_MISSING', names.base, 'could not be loaded'));
});

it('refuses a library that lacks a symbol, and names both', () => {
  const asGgml = folderOf({ ...real, ggml: real.base });
  expect(load(asGgml)).toThrow(
    refusal('LIBRARY_MISMATCH', names.ggml, 'no symbol ggml_backend_load_all_from_path'),
  );
  const asLlama = folderOf({ ...real, llama: real.base });
  expect(load(asLlama)).toThrow(
    refusal('LIBRARY_MISMATCH', names.llama, 'no symbol llama_version', expectedVersions.llama),
  );
});

it.runIf(process.platform === 'linux')('refuses a library of something else altogether', () => {
  const report = process.report.getReport() as unknown as { readonly sharedObjects: readonly string[] };
  const libc = report.sharedObjects.find((path) => /\/(libc|ld-musl)[-.]/.test(path)) ?? '';
  const folder = folderOf({ ...real, base: libc });
  expect(load(folder)).toThrow(refusal('LIBRARY_MISMATCH', names.base, 'no symbol ggml_version'));
});

it('refuses a folder without a CPU backend', () => {
  expect(load(folderOf(real))).toThrow(refusal('LIBRARY_MISSING', 'no CPU backend'));
});

it('refuses another version of llama.cpp', () => {
  const { llama } = expectedVersions;
  const folder = folderOf({ ...real, llama: withVersion(real.llama, llama, llama.replace('0', '7')) });
  expect(load(folder)).toThrow(
    refusal('LIBRARY_MISMATCH', `is version ${llama.replace('0', '7')}`, llama, 'BUTTERFLY_GGML_DIR'),
  );
});

it('refuses another version of ggml', () => {
  const { ggml } = expectedVersions;
  const folder = folderOf({ ...real, base: withVersion(real.base, ggml, ggml.replace('0', '9')) });
  expect(load(folder)).toThrow(
    refusal('LIBRARY_MISMATCH', `is version ${ggml.replace('0', '9')}, expected ${ggml}`),
  );
});
