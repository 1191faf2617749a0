import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ButterflyError, deadlines, formatBytes } from '@butterfly/common';
import { expectedVersions } from '@butterfly/ggml';
import {
  type BackendPackage,
  backendPackages,
  installBackend,
  isInstalled,
  removeBackend,
} from 'butterfly/command';
import { backendsDirectory } from 'butterfly/process';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { confirmDownload } from '../fetching/confirm.js';
import { downloadBar } from '../progress.js';
import { stopSignal } from '../signals.js';
import { formatTable } from '../table.js';
import { print, tell } from '../terminal.js';

interface SetupFlags {
  readonly yes?: boolean;
  readonly remove?: boolean;
  readonly registry?: string;
}

const usualRegistry = 'https://registry.npmjs.org';

const examples = `
Examples:
  butterfly setup                      what there is for this platform, and its size
  butterfly setup cuda                 the backend for cards of NVIDIA, for CUDA 13
  butterfly setup cuda12 --yes         the same for CUDA 12, without a question
  butterfly setup cuda --remove`;

export function setupCommand(environment: Environment): Command {
  return new Command('setup')
    .description('Bring or remove a backend for graphics cards that is too large to come with the rest.')
    .argument('[names...]', 'backends; without any, they are listed')
    .option('--yes', 'download without asking')
    .option('--remove', 'remove it instead')
    .option(
      '--registry <url>',
      `URL of a registry of npm packages (default: that which npm is configured for, else ${usualRegistry})`,
    )
    .addHelpText('after', examples)
    .action((names: readonly string[], flags: SetupFlags) => setup(names, flags, environment));
}

async function setup(names: readonly string[], flags: SetupFlags, environment: Environment): Promise<void> {
  const platform = `${process.platform}-${process.arch}`;
  const offered = backendPackages[platform] ?? [];
  const directory = directoryOf(environment);
  if (names.length === 0) {
    if (flags.remove) throw new ButterflyError('CONFIG_INVALID', 'Name what to remove, such as cuda.');
    await list(offered, directory, platform);
    return;
  }
  const chosen = [...new Set(names)].map((name) => find(offered, name, platform));
  if (flags.remove) {
    for (const backend of chosen)
      print(
        `${backend.name} ${(await removeBackend(directory, backend)) ? 'is removed' : 'was not there'}.\n`,
      );
    return;
  }
  const missing: BackendPackage[] = [];
  for (const backend of chosen)
    if (await isInstalled(directory, backend)) print(`${backend.name} is there already.\n`);
    else missing.push(backend);
  if (missing.length > 0) await install(missing, directory, flags);
}

async function install(
  backends: readonly BackendPackage[],
  directory: string,
  flags: SetupFlags,
): Promise<void> {
  const registry = checkUrl(flags.registry ?? (await configuredRegistry()));
  const sum = (of: (backend: BackendPackage) => number): string =>
    formatBytes(backends.reduce((total, backend) => total + of(backend), 0));
  tell(
    `${backends.map((backend) => `${backend.package}@${backend.version}`).join(', ')} from ${registry}: ${sum(({ bytes }) => bytes)} to download, ${sum(({ entry }) => entry.bytes)} in ${directory}.\n`,
  );
  if (!flags.yes) await confirmDownload();
  const stopping = new AbortController();
  void stopSignal().then(() =>
    stopping.abort(new ButterflyError('CANCELLED', 'Stopped; running the same again goes on from there.')),
  );
  const bar = downloadBar();
  try {
    for (const backend of backends) {
      const onProgress = bar.start(backend.name, backend.bytes);
      await installBackend({ backend, directory, registry, signal: stopping.signal, onProgress });
      bar.stop();
      print(
        `${backend.name} is here, and is what it should be. It needs ${backend.needs}: see "butterfly devices".\n`,
      );
    }
  } finally {
    bar.stop();
  }
}

async function list(offered: readonly BackendPackage[], directory: string, platform: string): Promise<void> {
  if (offered.length === 0) {
    print(`There is nothing to bring for ${platform}; BUTTERFLY_GGML_DIR names a build of your own.\n`);
    return;
  }
  const rows: string[][] = [];
  for (const backend of offered)
    rows.push([
      backend.name,
      (await isInstalled(directory, backend)) ? 'yes' : 'no',
      formatBytes(backend.bytes),
      formatBytes(backend.entry.bytes),
      `${backend.package}@${backend.version}`,
      backend.needs,
    ]);
  print(formatTable([['backend', 'here', 'download', 'on disk', 'package', 'needs'], ...rows]));
  print(`They go to ${directory}.\n`);
}

/** @throws ButterflyError NOT_FOUND */
function find(offered: readonly BackendPackage[], name: string, platform: string): BackendPackage {
  const found = offered.find((backend) => backend.name === name);
  if (found) return found;
  const names = offered.map((backend) => backend.name).join(', ');
  throw new ButterflyError(
    'NOT_FOUND',
    `There is no backend ${name} to bring for ${platform}${names === '' ? '' : `, but ${names}`}; BUTTERFLY_GGML_DIR names a build of your own.`,
  );
}

/** @throws ButterflyError CONFIG_INVALID for a user without a home */
function directoryOf(environment: Environment): string {
  const directory = backendsDirectory(environment, expectedVersions.ggml);
  if (directory !== null) return directory;
  throw new ButterflyError(
    'CONFIG_INVALID',
    'This user has no home directory; say where with XDG_DATA_HOME.',
  );
}

/** What npm says, for packages of this scope or for all; the usual one where there is no npm. */
async function configuredRegistry(): Promise<string> {
  for (const key of ['@node-llama-cpp:registry', 'registry']) {
    const { stdout } = await promisify(execFile)('npm', ['config', 'get', key], {
      timeout: deadlines.fetchMs,
      windowsHide: true,
      // npm is a script of the command line there.
      shell: process.platform === 'win32',
    }).catch(() => ({ stdout: '' }));
    const value = stdout.trim();
    if (URL.canParse(value)) return value;
  }
  return usualRegistry;
}

/** What is fetched is checked by its hash, so that plain HTTP does no harm. @throws ButterflyError CONFIG_INVALID */
function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  if (!url || !isWeb || url.username || url.password || url.search || url.hash)
    throw new ButterflyError('CONFIG_INVALID', `The URL of the registry must be like ${usualRegistry}.`);
  return url.href.replace(/\/+$/u, '');
}
