import { readdir, stat } from 'node:fs/promises';
import { ButterflyError } from '@butterfly/common';
import { localPath, modelsAmong, partsOf, type HubReference } from './reference.js';

/**
 * The path of a model that was pulled into this folder.
 * @throws ButterflyError MODEL_NOT_FOUND when it is not there as a whole, CONFIG_INVALID when it is not clear which
 */
export async function findPulled({ repo, file }: HubReference, directory: string): Promise<string> {
  const [model, ...others] = file === null ? modelsAmong(await filesIn(directory, repo)) : [file];
  if (others.length > 0)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `Several models of ${repo} were pulled; name one: ${[model, ...others].map((each) => `hf:${repo}:${each ?? ''}`).join(', ')}.`,
    );
  const missing = model === undefined ? null : await firstMissing(directory, repo, partsOf(model));
  if (model === undefined || missing !== null)
    throw new ButterflyError(
      'MODEL_NOT_FOUND',
      `${missing ?? `A model of ${repo}`} is not in ${directory}; fetch it first: butterfly pull hf:${repo}${file === null ? '' : `:${file}`}`,
    );
  return localPath(directory, repo, model);
}

async function filesIn(directory: string, repo: string): Promise<readonly string[]> {
  try {
    const paths = await readdir(localPath(directory, repo, '.'), { recursive: true });
    return paths.map((path) => path.replaceAll('\\', '/'));
  } catch {
    // Nothing was pulled from there yet, which the caller says better.
    return [];
  }
}

async function firstMissing(
  directory: string,
  repo: string,
  files: readonly string[],
): Promise<string | null> {
  for (const file of files) {
    const found = await stat(localPath(directory, repo, file)).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (!found) return file;
  }
  return null;
}
