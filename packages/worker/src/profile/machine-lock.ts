import { makeDirectory } from '@butterfly/common';
import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Measuring takes seconds; whoever holds the lock for longer has died, or might as well have. */
const staleMs = 30_000;
const retryMs = 50;

/** One process of this machine at a time: a file that exists while its owner measures. */
export class MachineLock implements AsyncDisposable {
  private constructor(private readonly path: string | null) {}

  /** Waits for its turn; where no file can be made, it is its turn at once. */
  static async take(directory: string): Promise<MachineLock> {
    const path = join(directory, 'measuring.lock');
    await makeDirectory(directory).catch(() => undefined);
    for (const endMs = performance.now() + staleMs; performance.now() < endMs;) {
      try {
        await (await open(path, 'wx')).close();
        return new MachineLock(path);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST'))
          return new MachineLock(null);
      }
      const found = await stat(path).catch(() => null);
      if (found && Date.now() - found.mtimeMs > staleMs) await rm(path, { force: true });
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
    return new MachineLock(null);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.path !== null) await rm(this.path, { force: true });
  }
}
