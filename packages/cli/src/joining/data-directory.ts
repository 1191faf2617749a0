import { resolve } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import { dataDirectory } from 'butterfly/process';
import type { Environment } from '../environment.js';

/** The folder that `--data-dir` asks for, else that of the user; null for a user without a home. */
export function dataDirectoryOf(asked: string | undefined, environment: Environment): string | null {
  return asked === undefined ? dataDirectory(environment) : resolve(asked);
}

/** The same for what cannot do without. @throws ButterflyError CONFIG_INVALID */
export function requireDataDirectory(asked: string | undefined, environment: Environment): string {
  const directory = dataDirectoryOf(asked, environment);
  if (directory !== null) return directory;
  throw new ButterflyError(
    'CONFIG_INVALID',
    'This user has no home directory to keep keys and certificates in; say where with --data-dir or XDG_DATA_HOME.',
    { param: 'data-dir' },
  );
}
