import { randomBytes } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Logger, makeDirectory } from '@butterfly/common';
import { workerDirectory } from 'butterfly/process';
import type { Environment } from './environment.js';

/** Where weights, measurements and the machine's id are kept. */
export interface CacheDirectory {
  /** Null where nothing can be kept, nor read. */
  readonly path: string | null;
  /** Whether more can be kept there, and not only read. */
  readonly isWritable: boolean;
}

/** A block of a file system: an empty file fits on a full disk. */
const probeBytes = 4096;
const remedy = 'choose another place with --cache-dir or XDG_CACHE_HOME';

/**
 * The directory that `--cache-dir` asks for, else that of the user. One that is missing or cannot be written to costs time
 * at the next start and nothing else: one warning says so.
 */
export async function openCacheDirectory(
  asked: string | undefined,
  environment: Environment,
  log: Logger,
): Promise<CacheDirectory> {
  const path = asked === undefined ? workerDirectory(environment) : resolve(asked);
  if (path === null) {
    log.warn({}, `Nothing is kept for the next start, since this user has no home directory; ${remedy}.`);
    return { path, isWritable: false };
  }
  const error = await writeError(path);
  if (error === null) return { path, isWritable: true };
  log.warn(
    {},
    `Nothing is kept for the next start, since ${path} cannot be written to (${error}); ${remedy}.`,
  );
  const isReadable = await readdir(path).then(
    () => true,
    () => false,
  );
  return { path: isReadable ? path : null, isWritable: false };
}

/** Code of the system's error; null when there is none. */
async function writeError(directory: string): Promise<string | null> {
  const probe = join(directory, `writable-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await makeDirectory(directory);
    await writeFile(probe, new Uint8Array(probeBytes));
    return null;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  } finally {
    await rm(probe, { force: true }).catch(() => undefined);
  }
}
