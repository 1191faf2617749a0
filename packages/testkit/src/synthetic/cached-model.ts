import { makeDirectory } from '@butterfly/common';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { writeArchitectureModel, type ArchitectureFixture, type MatrixType } from './architecture-model.js';
import type { SyntheticModelOptions } from './shape.js';
import { writeSyntheticModel } from './write-model.js';

/** To be raised whenever the same options give other bytes. */
const writerVersion = 1;

const usualDirectory = (): string => join(tmpdir(), 'butterfly-synthetic');

/**
 * The path of a synthetic model (of its first part when split), written unless the cache has it. Processes may ask for
 * the same model at once: each writes aside, and the first to finish counts.
 */
export function cachedSyntheticModel(
  options: SyntheticModelOptions,
  directory = usualDirectory(),
): Promise<string> {
  const name = cacheName(`${options.architecture}-${options.type}`, options);
  return cached(join(directory, name), async (path) => {
    await writeSyntheticModel(path, options);
  });
}

/** The same for a model of any architecture. */
export function cachedArchitectureModel(
  fixture: ArchitectureFixture,
  matrices: MatrixType,
  directory = usualDirectory(),
): Promise<string> {
  const name = cacheName(`${fixture.name}-${matrices}`, { ...fixture, matrices });
  return cached(join(directory, name), (path) => writeArchitectureModel(path, fixture, matrices));
}

async function cached(folder: string, write: (path: string) => Promise<void>): Promise<string> {
  if (!existsSync(folder)) {
    const directory = dirname(folder);
    await makeDirectory(directory);
    const aside = await mkdtemp(join(directory, 'writing-'));
    try {
      await write(join(aside, 'model.gguf'));
      await rename(aside, folder);
    } catch (thrown) {
      await rm(aside, { recursive: true, force: true });
      // Another process was faster.
      if (!existsSync(folder)) throw thrown;
    }
  }
  const [first = 'model.gguf'] = (await readdir(folder)).sort();
  return join(folder, first);
}

function cacheName(name: string, options: object): string {
  const sorted = Object.fromEntries(Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1)));
  const hash = createHash('sha256')
    .update(JSON.stringify([writerVersion, sorted]))
    .digest('hex');
  return `${name}-${hash.slice(0, 16)}`;
}
