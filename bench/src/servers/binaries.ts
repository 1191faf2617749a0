import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ButterflyError } from '@butterfly/common';
import { expectedVersions } from '@butterfly/ggml';
import { RpcWorker } from './rpc-worker.js';

const answerDeadlineMs = 30_000;
const suffix = process.platform === 'win32' ? '.exe' : '';
const remedy = `docs/performance.md says how to build those of llama.cpp ${expectedVersions.llama}`;
/** What of the words of a program an error shows. */
const wordsMax = 500;

/** Programs of llama.cpp, of the release whose libraries are called here. */
export interface LlamaBinaries {
  readonly server: string;
  readonly rpcWorker: string;
}

/**
 * What `--llama-bin` has; null, after a line that says so, without that option.
 * @throws ButterflyError as `openBinaries`
 */
export async function binariesIfGiven(directory: string | null): Promise<LlamaBinaries | null> {
  if (directory !== null) return openBinaries(directory);
  process.stdout.write(`llama.cpp's own server is not measured: --llama-bin DIR is missing; ${remedy}.\n`);
  return null;
}

/**
 * Looks for both programs in a folder and tries them: the server says its release, and must reach a worker, which tells
 * nothing of itself but has to speak the same protocol.
 * @throws ButterflyError CONFIG_INVALID: the option or one of the programs is missing, or cannot be run
 * @throws ButterflyError LIBRARY_MISMATCH: they are of another release, or know no RPC
 */
export async function openBinaries(directory: string | null): Promise<LlamaBinaries> {
  if (directory === null) throw wrong('CONFIG_INVALID', '--llama-bin DIR is missing');
  const [server, rpcWorker] = [
    await program(directory, 'llama-server'),
    await program(directory, 'ggml-rpc-server'),
  ];
  checkRelease(server, await wordsOf(server, ['--version'], 'CONFIG_INVALID'));
  await using worker = await RpcWorker.start(rpcWorker, 1).catch((thrown: unknown) => {
    throw wrong('CONFIG_INVALID', `${rpcWorker} does not work: ${messageOf(thrown)}`, thrown);
  });
  const devices = await wordsOf(server, ['--rpc', worker.address, '--list-devices'], 'LIBRARY_MISMATCH');
  if (!devices.includes(worker.address))
    throw wrong('LIBRARY_MISMATCH', `${server} does not find the device of ${rpcWorker}: ${devices}`);
  return { server, rpcWorker };
}

async function program(directory: string, name: string): Promise<string> {
  const path = join(directory, name + suffix);
  try {
    await access(path, constants.X_OK);
  } catch (cause) {
    throw wrong('CONFIG_INVALID', `--llama-bin ${directory} has no ${name} that can be run`, cause);
  }
  return path;
}

/** Builds from a checkout, and not of a release's archive, have `-dev` behind the number. */
function checkRelease(server: string, words: string): void {
  const { llama: wanted } = expectedVersions;
  const found = /^version: (\S+)/m.exec(words)?.[1] ?? `unknown (${words.slice(0, wordsMax).trim()})`;
  if (found !== wanted && !found.startsWith(`${wanted}-`))
    throw wrong('LIBRARY_MISMATCH', `${server} is of release ${found}, and ${wanted} is called here`);
}

/** All that a program writes before it ends. */
async function wordsOf(
  path: string,
  args: readonly string[],
  code: 'CONFIG_INVALID' | 'LIBRARY_MISMATCH',
): Promise<string> {
  try {
    const { stdout, stderr } = await promisify(execFile)(path, args, { timeout: answerDeadlineMs });
    return stdout + stderr;
  } catch (thrown) {
    throw wrong(code, messageOf(thrown), thrown);
  }
}

function messageOf(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return message.slice(0, wordsMax).trim().replaceAll(/\s+/g, ' ');
}

function wrong(code: 'CONFIG_INVALID' | 'LIBRARY_MISMATCH', what: string, cause?: unknown): ButterflyError {
  return new ButterflyError(code, `${what}; ${remedy}.`, { cause, param: 'llama-bin' });
}
