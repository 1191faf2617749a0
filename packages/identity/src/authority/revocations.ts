import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { limits, makeDirectory } from '@butterfly/common';
import type { PeerIdentity } from '@butterfly/wire';

/** Members that are members no more, until their certificates end by themselves. */
export class Revocations {
  readonly #untilMs = new Map<string, number>();

  private constructor(private readonly directory: string | null) {}

  /** Those kept in this folder, which is made with the first one; null keeps none. */
  static async open(directory: string | null): Promise<Revocations> {
    const revocations = new Revocations(directory);
    const names = directory === null ? [] : await readdir(directory).catch(() => []);
    for (const name of names) {
      const untilMs = Number(await readFile(join(directory ?? '', name), 'utf8'));
      if (untilMs > Date.now()) revocations.#note(name, untilMs);
      else await rm(join(directory ?? '', name), { force: true });
    }
    return revocations;
  }

  get ids(): readonly string[] {
    return [...this.#untilMs.keys()];
  }

  has(id: string): boolean {
    return this.#untilMs.has(id);
  }

  /** From now on it is no member; on disk too before this resolves. */
  async add({ id, expiresAtMs }: PeerIdentity): Promise<void> {
    this.#note(id, expiresAtMs);
    if (this.directory === null) return;
    await makeDirectory(this.directory);
    await writeFile(join(this.directory, id), String(expiresAtMs), { mode: 0o600 });
  }

  /** At the bound the one goes that was revoked first, whose certificate ends first as a rule. */
  #note(id: string, untilMs: number): void {
    this.#untilMs.delete(id);
    this.#untilMs.set(id, untilMs);
    const [oldest] = this.#untilMs.keys();
    if (this.#untilMs.size > limits.revokedMax && oldest !== undefined) this.#untilMs.delete(oldest);
  }
}
