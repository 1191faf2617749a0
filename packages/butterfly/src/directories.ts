import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';

/** The variables of the environment that say where caches go. */
export interface CacheVariables {
  readonly XDG_CACHE_HOME?: string | undefined;
  readonly LOCALAPPDATA?: string | undefined;
}

/**
 * Where this system keeps what programs can fetch again, for this user and this program; null for a user without a home,
 * as containers run programs.
 */
export function cacheDirectory(
  variables: CacheVariables,
  platform: NodeJS.Platform = process.platform,
  home: string | null = homeDirectory(),
): string | null {
  if (variables.XDG_CACHE_HOME) return join(variables.XDG_CACHE_HOME, 'butterfly');
  if (platform === 'win32' && variables.LOCALAPPDATA)
    return join(variables.LOCALAPPDATA, 'butterfly', 'cache');
  if (home === null) return null;
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'butterfly');
  if (platform === 'win32') return join(home, 'AppData', 'Local', 'butterfly', 'cache');
  return join(home, '.cache', 'butterfly');
}

/** The variables of the environment that say where programs keep what nobody can fetch again. */
export interface DataVariables {
  readonly XDG_DATA_HOME?: string | undefined;
  readonly LOCALAPPDATA?: string | undefined;
}

/** Where this system keeps that, for this user and this program; null for a user without a home. */
export function dataDirectory(
  variables: DataVariables,
  platform: NodeJS.Platform = process.platform,
  home: string | null = homeDirectory(),
): string | null {
  if (variables.XDG_DATA_HOME) return join(variables.XDG_DATA_HOME, 'butterfly');
  if (platform === 'win32' && variables.LOCALAPPDATA)
    return join(variables.LOCALAPPDATA, 'butterfly', 'data');
  if (home === null) return null;
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', 'butterfly');
  if (platform === 'win32') return join(home, 'AppData', 'Local', 'butterfly', 'data');
  return join(home, '.local', 'share', 'butterfly');
}

/**
 * Where backends lie that `butterfly setup` brought, of one version of ggml: those of another would end the process. Null for
 * a user without a home.
 */
export function backendsDirectory(
  variables: DataVariables,
  ggmlVersion: string,
  platform: NodeJS.Platform = process.platform,
  home: string | null = homeDirectory(),
): string | null {
  const data = dataDirectory(variables, platform, home);
  return data === null ? null : join(data, 'backends', `ggml-${ggmlVersion}`);
}

/**
 * Where `butterfly pull` puts models, and `hf:` names are looked for.
 * @param cacheDir what `--cache-dir` says, for which models have a folder of their own there
 */
export function modelsDirectory(variables: CacheVariables, cacheDir?: string): string | null {
  if (cacheDir !== undefined) return join(cacheDir, 'pulled');
  const cache = cacheDirectory(variables);
  return cache === null ? null : join(cache, 'models');
}

/**
 * Where surveys of models are kept for the next time that one is opened.
 * @param cacheDir what `--cache-dir` says
 */
export function surveysDirectory(variables: CacheVariables, cacheDir?: string): string | null {
  const cache = cacheDir ?? cacheDirectory(variables);
  return cache === null ? null : join(cache, 'surveys');
}

/** Where a worker keeps weights that came over the network, measurements, and by what it knows its machine. */
export function workerDirectory(variables: CacheVariables): string | null {
  const cache = cacheDirectory(variables);
  return cache === null ? null : join(cache, 'weights');
}

/** Null where the system knows of none; a blank HOME is none, and the system is asked whose it is. */
function homeDirectory(): string | null {
  for (const ask of [homedir, () => userInfo().homedir]) {
    try {
      const home = ask();
      if (home.trim() !== '') return home;
    } catch {
      // A user whom the system does not know.
    }
  }
  return null;
}
