import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import { libraryHashes } from './library-hashes.js';

const isLibrary = /\.(?:so|dylib|dll)$/u;

/**
 * Reads all libraries of a package's folder, since ggml loads whatever lies there, and compares them with those that the
 * registry has. Takes 0.1 s of a processor for the 29 MB of a platform. Packages of other releases or platforms have no hashes here, and are taken as they are.
 * @param name of the npm package
 * @throws ButterflyError LIBRARY_MISMATCH for a library that is another one, or should not be there
 */
export function checkLibraries(
  name: string,
  folder: string,
  hashes: Readonly<Record<string, string>> | undefined = libraryHashes[name],
): void {
  if (hashes === undefined) return;
  for (const file of readdirSync(folder).filter((each) => isLibrary.test(each)))
    checkFile(name, join(folder, file), hashes);
}

/** The same for one library of a package. @throws ButterflyError LIBRARY_MISMATCH */
export function checkLibrary(name: string, path: string): void {
  const hashes = libraryHashes[name];
  if (hashes !== undefined) checkFile(name, path, hashes);
}

function checkFile(name: string, path: string, hashes: Readonly<Record<string, string>>): void {
  const expected = hashes[basename(path)];
  if (expected !== undefined && createHash('sha256').update(readFileSync(path)).digest('hex') === expected)
    return;
  throw new ButterflyError(
    'LIBRARY_MISMATCH',
    `${path} is ${expected === undefined ? 'no file' : 'not the file'} of ${name} as the registry has it: it is damaged, or somebody changed it. Run "npm ci" again, or set BUTTERFLY_GGML_DIR to a build of your own.`,
  );
}
