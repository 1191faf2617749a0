import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ButterflyError, limits } from '@butterfly/common';
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

/** A model that was pulled as a whole. */
export interface PulledModel {
  /** `hf:ORG/REPO:FILE` */
  readonly reference: string;
  /** Of its first part. */
  readonly path: string;
  /** Of all parts. */
  readonly bytes: number;
}

/** The models that were pulled into this folder, the latest first. */
export async function listPulled(directory: string): Promise<readonly PulledModel[]> {
  const found: (PulledModel & { readonly pulledMs: number })[] = [];
  for (const org of await foldersIn(directory))
    for (const name of await foldersIn(join(directory, org))) {
      const repo = `${org}/${name}`;
      for (const file of modelsAmong(await filesIn(directory, repo))) {
        const parts = await Promise.all(
          partsOf(file).map((part) => stat(localPath(directory, repo, part)).catch(() => null)),
        );
        const whole = parts.filter((part) => part?.isFile()).flatMap((part) => part ?? []);
        if (whole.length < parts.length) continue;
        found.push({
          reference: `hf:${repo}:${file}`,
          path: localPath(directory, repo, file),
          bytes: whole.reduce((sum, { size }) => sum + size, 0),
          pulledMs: Math.max(...whole.map(({ mtimeMs }) => mtimeMs)),
        });
      }
    }
  return found
    .sort((a, b) => b.pulledMs - a.pulledMs)
    .slice(0, limits.pulledModelsListedMax)
    .map(({ reference, path, bytes }) => ({ reference, path, bytes }));
}

async function foldersIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
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
