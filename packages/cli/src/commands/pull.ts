import { resolve } from 'node:path';
import { ButterflyError, formatBytes } from '@butterfly/common';
import { Hub, parseHubReference, pull } from 'butterfly/command';
import { modelsDirectory } from 'butterfly/process';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { downloadBar } from '../progress.js';
import { cacheDirectoryOption } from '../options.js';
import { stopSignal } from '../signals.js';
import { print, tell } from '../terminal.js';

interface PullFlags {
  readonly directory?: string;
  readonly cacheDir?: string;
  readonly hubUrl?: string;
}

const defaultHubUrl = 'https://huggingface.co';

const examples = `
Examples:
  butterfly pull hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Llama-3.2-1B-Instruct-Q4_0.gguf
  butterfly pull hf:ORG/REPO                        the only GGUF file there, or says which there are
  HF_TOKEN=... butterfly pull hf:ORG/PRIVATE --directory /big/models`;

export function pullCommand(environment: Environment): Command {
  return new Command('pull')
    .description('Download a model from a hub, on from where it was cut, and check it.')
    .argument('<model>', 'hf:ORG/REPO or hf:ORG/REPO:FILE; of a split model, any part')
    .option('--directory <path>', 'where models go (default: butterfly/models in the cache of the user)')
    .addOption(cacheDirectoryOption())
    .option('--hub-url <url>', `URL of the hub (default: HF_ENDPOINT, else ${defaultHubUrl})`)
    .addHelpText('after', examples)
    .action((model: string, flags: PullFlags) => runPull(model, flags, environment));
}

async function runPull(model: string, flags: PullFlags, environment: Environment): Promise<void> {
  const reference = parseHubReference(model);
  const token = environment.HF_TOKEN ?? environment.HUGGING_FACE_HUB_TOKEN ?? null;
  const hub = new Hub({
    url: checkHubUrl(flags.hubUrl ?? environment.HF_ENDPOINT ?? defaultHubUrl, token !== null),
    token,
  });
  const stopping = new AbortController();
  void stopSignal().then(() =>
    stopping.abort(new ButterflyError('CANCELLED', 'Stopped; running the same again goes on from there.')),
  );
  const bar = downloadBar();
  try {
    const pulled = await pull({
      hub,
      reference,
      directory: directoryOf(flags, environment),
      signal: stopping.signal,
      onFile: (file) => bar.start(file.path, file.bytes),
    });
    bar.stop();
    const news = pulled.downloaded === 0 ? 'was there already' : 'is here';
    print(`${pulled.path}\n`);
    tell(
      `${pulled.file} (${formatBytes(pulled.bytes)}) ${news} and is what the hub has. Run it: butterfly serve ${flags.directory === undefined && flags.cacheDir === undefined ? `hf:${pulled.repo}:${pulled.file}` : pulled.path}\n`,
    );
  } finally {
    bar.stop();
  }
}

/** @throws ButterflyError CONFIG_INVALID where the user has no cache, and named no folder */
function directoryOf({ directory, cacheDir }: PullFlags, environment: Environment): string {
  const found = directory ?? modelsDirectory(environment, cacheDir);
  if (found !== null) return resolve(found);
  throw new ButterflyError(
    'CONFIG_INVALID',
    'This user has no home directory to put models in; say where with --directory, --cache-dir or XDG_CACHE_HOME.',
  );
}

/** @throws ButterflyError CONFIG_INVALID */
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
