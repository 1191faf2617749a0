import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ButterflyError, makeDirectory } from '@butterfly/common';
import { extract } from 'tar';
import { asDiskErrors, checkRoom, download } from '../download/download.js';
import type { BackendPackage } from './packages.js';
import { archiveIn } from './registry.js';

export interface InstallOptions {
  readonly backend: BackendPackage;
  /** Where backends of this release lie, each in a folder of its own. */
  readonly directory: string;
  /** URL of a registry of npm. */
  readonly registry: string;
  readonly signal: AbortSignal;
  /** Told of the bytes of the archive that are there, those of earlier runs included. */
  readonly onProgress: (bytes: number) => void;
  readonly firstPauseMs?: number;
}

/** What chooses the folder for data of the user. */
const placedBy = 'XDG_DATA_HOME';

/** Where the library of a backend lies once it is installed. */
export function installedFile(directory: string, { name, entry }: BackendPackage): string {
  return join(directory, name, basename(entry.path));
}

export async function isInstalled(directory: string, backend: BackendPackage): Promise<boolean> {
  const found = await stat(installedFile(directory, backend)).catch(() => null);
  return found?.isFile() === true && found.size === backend.entry.bytes;
}

/**
 * Brings a backend to this machine: its archive on from where an earlier run was cut, checked as a whole, and of it the
 * library alone, which comes to its place in one step. False when it was there already.
 * @throws ButterflyError LIBRARY_MISMATCH for another content than is known, of which nothing stays; NOT_FOUND, ACCESS_DENIED,
 * PEER_UNREACHABLE, CONNECTION_CLOSED, TIMEOUT of the registry; DISK_FULL; CANCELLED; CONFIG_INVALID where it cannot be
 * written, or another process is at it
 */
export async function installBackend(options: InstallOptions): Promise<boolean> {
  const { backend, directory, registry, ...rest } = options;
  if (await isInstalled(directory, backend)) return false;
  await asDiskErrors(directory, placedBy, () => makeDirectory(directory));
  await checkRoom(directory, backend.bytes + backend.entry.bytes, placedBy);
  const archive = join(directory, archiveName(backend));
  await download({
    source: archiveIn(registry, backend),
    file: {
      path: `${backend.package}@${backend.version}`,
      bytes: backend.bytes,
      checksum: { kind: 'sha512', hex: backend.sha512 },
    },
    path: archive,
    wrongContent: 'LIBRARY_MISMATCH',
    placedBy,
    ...rest,
  });
  await unpack(archive, directory, backend);
  await rm(archive, { force: true });
  return true;
}

/** False when it was not there. @throws ButterflyError CONFIG_INVALID where it cannot be removed */
export async function removeBackend(directory: string, backend: BackendPackage): Promise<boolean> {
  const folder = join(directory, backend.name);
  const isThere = await stat(folder).then(
    () => true,
    () => false,
  );
  await asDiskErrors(folder, placedBy, async () => {
    await rm(folder, { recursive: true, force: true });
    // And what a download that was cut has left.
    for (const file of await filesOf(directory, archiveName(backend)))
      await rm(join(directory, file), { force: true });
  });
  return isThere;
}

function archiveName({ name, version }: BackendPackage): string {
  return `${name}-${version}.tgz`;
}

async function filesOf(directory: string, start: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => name.startsWith(start));
}

/** Whoever looks at the folder meanwhile finds all of the library or nothing. */
async function unpack(archive: string, directory: string, backend: BackendPackage): Promise<void> {
  const temporary = join(directory, `${backend.name}.${randomBytes(6).toString('hex')}.tmp`);
  const file = join(temporary, basename(backend.entry.path));
  try {
    await asDiskErrors(directory, placedBy, async () => {
      await mkdir(temporary);
      await extract({
        file: archive,
        cwd: temporary,
        strict: true,
        // The library alone, whatever else there is.
        strip: backend.entry.path.split('/').length - 1,
        filter: (path, entry) => path === backend.entry.path && 'type' in entry && entry.type === 'File',
      });
    });
    await check(file, backend);
    await asDiskErrors(directory, placedBy, async () => {
      await sync(file);
      const folder = dirname(installedFile(directory, backend));
      await rm(folder, { recursive: true, force: true });
      await rename(temporary, folder);
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function check(file: string, { package: name, entry }: BackendPackage): Promise<void> {
  const size = (await stat(file).catch(() => null))?.size;
  if (size === entry.bytes) return;
  throw new ButterflyError(
    'LIBRARY_MISMATCH',
    `${name} has ${size === undefined ? 'no' : 'another'} ${entry.path}; this is a defect of Butterfly, please report it.`,
  );
}
