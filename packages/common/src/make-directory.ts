import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a directory and those that it is to lie in, where they are missing. Node's own `recursive` never ends where the
 * system denies a directory in one that is there by saying that it is not, as in `/proc`.
 * @throws Error of the system, with its `code`
 */
export async function makeDirectory(path: string): Promise<void> {
  const missing = await makeOne(path);
  if (missing === null) return;
  const above = dirname(path);
  if (above !== path) await makeDirectory(above);
  // What was missing is there now, whoever made it; what is denied all the same will be for ever.
  const denied = await makeOne(path);
  if (denied !== null) throw denied;
}

/** Null once it is there; the error where something above it is missing, or the system says so. */
async function makeOne(path: string): Promise<Error | null> {
  try {
    await mkdir(path);
    return null;
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await isDirectory(path))) return null;
    if (error instanceof Error && codeOf(error) === 'ENOENT') return error;
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
