import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authorityDirectory, formatJoinToken, keptTokens } from '@butterfly/identity';
import { dataDirectory } from 'butterfly/process';

interface Wishes {
  readonly lifeMs?: number | null;
  readonly usesMax?: number | null;
}

/** A join token as `butterfly token create` makes it. @param directory the data folder; by default that of all tests */
export async function makeToken(wishes: Wishes = {}, directory = usualDirectory()): Promise<string> {
  const tokens = await keptTokens(authorityDirectory(directory));
  return formatJoinToken(await tokens.create({ lifeMs: null, usesMax: null, note: 'of a test', ...wishes }));
}

export async function tokenOfAnotherCluster(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-other-'));
  try {
    return await makeToken({}, directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

function usualDirectory(): string {
  const directory = dataDirectory(process.env);
  if (directory === null) throw new Error('Tests have no data folder.');
  return directory;
}
