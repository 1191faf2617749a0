import { readFile, rm, writeFile } from 'node:fs/promises';
import { ButterflyError } from '@butterfly/common';

/** One process at a time completes a file: meanwhile another file with its process id lies beside it. */
export class PartLock implements AsyncDisposable {
  private constructor(private readonly path: string) {}

  /**
   * Takes over what a process left that is dead.
   * @throws ButterflyError CONFIG_INVALID while another one completes the file, and what the disk says
   */
  static async take(partPath: string): Promise<PartLock> {
    const path = `${partPath}.lock`;
    if (await isMade(path)) return new PartLock(path);
    const owner = Number(await readFile(path, 'utf8').catch(() => ''));
    if (!isAlive(owner)) {
      await rm(path, { force: true });
      if (await isMade(path)) return new PartLock(path);
    }
    throw new ButterflyError(
      'CONFIG_INVALID',
      `Process ${owner} downloads ${partPath} already; wait for it, or remove ${path} if that is no download.`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { force: true });
  }
}

/** False when it is there already. */
async function isMade(path: string): Promise<boolean> {
  try {
    await writeFile(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // One of another user may not be signalled.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
