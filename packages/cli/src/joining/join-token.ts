import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { ButterflyError, deadlines, limits } from '@butterfly/common';
import type { Environment } from '../environment.js';

/** How a command is given a join token. */
export interface TokenFlags {
  readonly token?: string;
  readonly tokenFile?: string;
}

/**
 * The join token that the flags or the environment give; undefined for none.
 * @throws ButterflyError CONFIG_INVALID for a file that cannot be read
 */
export async function givenToken(
  { token, tokenFile }: TokenFlags,
  environment: Environment,
): Promise<string | undefined> {
  if (tokenFile === undefined) return token ?? environment.BUTTERFLY_TOKEN;
  const read = (tokenFile === '-' ? await fromStandardInput() : await fromFile(tokenFile)).trim();
  if (read === '' || read.length > limits.joinTokenCharactersMax)
    throw new ButterflyError('CONFIG_INVALID', `There is no join token in ${nameOf(tokenFile)}.`, {
      param: 'token-file',
    });
  return read;
}

async function fromFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ButterflyError('CONFIG_INVALID', `The join token cannot be read: ${why}.`, {
      cause,
      param: 'token-file',
    });
  }
}

/** Whoever starts this gives it at once. */
async function fromStandardInput(): Promise<string> {
  const timer = setTimeout(() => process.stdin.destroy(), deadlines.handshakeMs);
  try {
    return await text(process.stdin);
  } catch {
    return '';
  } finally {
    clearTimeout(timer);
  }
}

function nameOf(tokenFile: string): string {
  return tokenFile === '-' ? 'standard input' : tokenFile;
}
