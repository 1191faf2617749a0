import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

const program = `
const blocks = [];
for (let left = Number(process.argv[1]); left > 0; left -= 2 ** 28) blocks.push(Buffer.alloc(2 ** 28, 1));
process.stdout.write('held');
process.stdin.resume();
process.stdin.on('end', () => process.exit(blocks.length > 0 ? 0 : 1));
`;

/**
 * Memory that another process has written to and holds, until it is given back. A virtual machine gives memory that
 * nobody uses back to its host, and gets it again at a tenth of the speed of a disk: whoever measures loading measures
 * that, unless the memory was in use until just before.
 */
export class HeldMemory implements AsyncDisposable {
  private constructor(private readonly child: ChildProcess) {}

  static async take(bytes: number): Promise<HeldMemory> {
    const child = spawn(process.execPath, ['-e', program, String(bytes)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    return new HeldMemory(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = this.child.exitCode === null ? once(this.child, 'exit') : null;
    this.child.stdin?.end();
    await ended;
  }
}
