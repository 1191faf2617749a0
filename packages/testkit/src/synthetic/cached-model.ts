import { makeDirectory } from '@butterfly/common';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SyntheticModelOptions } from './shape.js';
import { writeSyntheticModel } from './write-model.js';

/** To be raised whenever the same options give other bytes. */
const writerVersion = 1;

/**
 * The path of a synthetic model (of its first part when split), written unless the cache has it. Processes may ask for
 * the same model at once: each writes aside, and the first to finish counts.
 */
export async function cachedSyntheticModel(
  options: SyntheticModelOptions,
  directory = join(tmpdir(), 'butterfly-synthetic'),
): Promise<string> {
  const folder = join(directory, cacheKey(options));
  if (!existsSync(folder)) {
    await makeDirectory(directory);
    const aside = await mkdtemp(join(directory, 'writing-'));
    try {
      await writeSyntheticModel(join(aside, 'model.gguf'), options);
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

function cacheKey(options: SyntheticModelOptions): string {
  const sorted = Object.fromEntries(Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1)));
  const hash = createHash('sha256')
    .update(JSON.stringify([writerVersion, sorted]))
    .digest('hex');
  return `${options.architecture}-${options.type}-${hash.slice(0, 16)}`;
}
