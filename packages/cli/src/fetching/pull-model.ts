import { resolve } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import { Hub, type Pulled, parseHubReference, pull } from 'butterfly/command';
import { modelsDirectory } from 'butterfly/process';
import type { Environment } from '../environment.js';
import { defaultHubUrl } from '../options.js';
import { downloadBar } from '../progress.js';
import { stopSignal } from '../signals.js';

/** Where a model comes from and goes to. */
export interface PullFlags {
  readonly directory?: string;
  readonly cacheDir?: string;
  readonly hubUrl?: string;
}

/**
 * Brings a model here, with a bar for each of its files, until a signal asks to stop.
 * @throws ButterflyError as `pull` does; CONFIG_INVALID where there is no place for it, or for a wrong URL
 */
export async function pullModel(model: string, flags: PullFlags, environment: Environment): Promise<Pulled> {
  const reference = parseHubReference(model);
  const hub = new Hub({ url: hubUrlOf(flags, environment), token: tokenOf(environment) });
  const stopping = new AbortController();
  void stopSignal().then(() =>
    stopping.abort(new ButterflyError('CANCELLED', 'Stopped; running the same again goes on from there.')),
  );
  const bar = downloadBar();
  try {
    return await pull({
      hub,
      reference,
      directory: directoryOf(flags, environment),
      signal: stopping.signal,
      onFile: (file) => bar.start(file.path, file.bytes),
    });
  } finally {
    bar.stop();
  }
}

/** @throws ButterflyError CONFIG_INVALID where the user has no cache, and named no folder */
export function directoryOf({ directory, cacheDir }: PullFlags, environment: Environment): string {
  const found = directory ?? modelsDirectory(environment, cacheDir);
  if (found !== null) return resolve(found);
  throw new ButterflyError(
    'CONFIG_INVALID',
    'This user has no home directory to put models in; say where with --directory, --cache-dir or XDG_CACHE_HOME.',
  );
}

/** @throws ButterflyError CONFIG_INVALID for what is no URL of a hub, or would get a token in plain text */
export function hubUrlOf({ hubUrl }: PullFlags, environment: Environment): string {
  return checkHubUrl(hubUrl ?? environment.HF_ENDPOINT ?? defaultHubUrl, tokenOf(environment) !== null);
}

function tokenOf({ HF_TOKEN, HUGGING_FACE_HUB_TOKEN }: Environment): string | null {
  return HF_TOKEN ?? HUGGING_FACE_HUB_TOKEN ?? null;
}

function checkHubUrl(text: string, hasToken: boolean): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  if (!url || !isWeb || url.username || url.password || url.search || url.hash)
    throw new ButterflyError('CONFIG_INVALID', 'The URL of the hub must be like https://huggingface.co.');
  const isNear = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  if (hasToken && url.protocol === 'http:' && !isNear)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `${url.origin} would get your token in plain text; use https, or unset HF_TOKEN.`,
    );
  return url.href.replace(/\/+$/, '');
}
