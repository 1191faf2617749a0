import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where this system keeps what programs can fetch again, for this user and this program. */
export function cacheDirectory(
  variables: { readonly XDG_CACHE_HOME?: string | undefined; readonly LOCALAPPDATA?: string | undefined },
  platform: NodeJS.Platform = process.platform,
  home: string = homedir(),
): string {
  if (variables.XDG_CACHE_HOME) return join(variables.XDG_CACHE_HOME, 'butterfly');
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'butterfly');
  if (platform === 'win32')
    return join(variables.LOCALAPPDATA ?? join(home, 'AppData', 'Local'), 'butterfly', 'cache');
  return join(home, '.cache', 'butterfly');
}

/** Where `butterfly pull` puts models, and `hf:` names are looked for. */
export function modelsDirectory(variables: Parameters<typeof cacheDirectory>[0]): string {
  return join(cacheDirectory(variables), 'models');
}

/** Where a worker keeps weights that came over the network, measurements, and by what it knows its machine. */
export function workerDirectory(variables: Parameters<typeof cacheDirectory>[0]): string {
  return join(cacheDirectory(variables), 'weights');
}
