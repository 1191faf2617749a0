import { randomBytes } from 'node:crypto';
import { link, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '@butterfly/common';

/** Writes a file that only this user can read, whole or not at all. @throws Error of the system */
export async function writePrivate(path: string, text: string): Promise<void> {
  await written(path, text, (made) => rename(made, path));
}

/** The same, unless there is one; whether there was none, however many processes try at once. @throws Error of the system */
export async function writeNewPrivate(path: string, text: string): Promise<boolean> {
  try {
    await written(path, text, (made) => link(made, path));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Null where there is none. @throws Error of the system */
export async function readIfThere(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch((error: unknown) =>
    isMissing(error) ? null : Promise.reject(error as Error),
  );
}

/** What lies in a folder; nothing where that is not there. @throws Error of the system */
export async function namesIn(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch((error: unknown) =>
    isMissing(error) ? [] : Promise.reject(error as Error),
  );
}

async function written(path: string, text: string, place: (made: string) => Promise<void>): Promise<void> {
  const made = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  await makeDirectory(dirname(path));
  try {
    await writeFile(made, text, { mode: 0o600, flag: 'wx' });
    await place(made);
  } finally {
    await rm(made, { force: true });
  }
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT';
}

/** What the system calls an error; null for one that is not the system's. */
function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}
