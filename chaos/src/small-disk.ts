import { execFileSync } from 'node:child_process';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A disk of few megabytes, which can be filled without harm. Only Linux lets us have one, and only its root. */
export class SmallDisk implements AsyncDisposable {
  private constructor(readonly path: string) {}

  /** Null where this is not allowed. */
  static async mount(megabytes: number): Promise<SmallDisk | null> {
    const path = await mkdtemp(join(tmpdir(), 'butterfly-disk-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path], { stdio: 'ignore' });
      return new SmallDisk(path);
    } catch {
      await rmdir(path);
      return null;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    execFileSync('umount', ['-l', this.path], { stdio: 'ignore' });
    await rmdir(this.path);
  }
}
