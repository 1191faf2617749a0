import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkLibraries, checkLibrary } from './check-libraries.js';
import { libraryHashes } from './library-hashes.js';
import { findGpuBackends, findLibraries } from './platform.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'butterfly-libraries-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const name = '@scope/libraries';
const hashes = { 'libggml.so': createHash('sha256').update('right').digest('hex') };
const mismatch = (words: string): unknown =>
  expect.objectContaining({ code: 'LIBRARY_MISMATCH', message: expect.stringContaining(words) as string });

it('takes the libraries of a package as the registry has them, and files that are none', () => {
  writeFileSync(join(folder, 'libggml.so'), 'right');
  writeFileSync(join(folder, 'metadata.json'), 'anything');
  expect(() => checkLibraries(name, folder, hashes)).not.toThrow();
});

it('refuses a library with another byte, and one that should not be there', () => {
  writeFileSync(join(folder, 'libggml.so'), 'wrong');
  expect(() => checkLibraries(name, folder, hashes)).toThrow(mismatch('is not the file of @scope/libraries'));
  writeFileSync(join(folder, 'libggml.so'), 'right');
  writeFileSync(join(folder, 'libggml-cpu-mine.so'), 'right');
  expect(() => checkLibraries(name, folder, hashes)).toThrow(mismatch('is no file of @scope/libraries'));
});

it('knows those that are in use here', () => {
  const found = findLibraries(undefined);
  expect(Object.keys(libraryHashes)).toContain(found.package);
  expect(() => checkLibraries(found.package ?? '', found.directory)).not.toThrow();
  for (const { files, package: of } of findGpuBackends({ libraries: found.directory, backends: null }))
    for (const file of files) expect(() => checkLibrary(of ?? '', file)).not.toThrow();
});
