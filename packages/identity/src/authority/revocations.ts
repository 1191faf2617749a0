import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '@butterfly/common';
import type { PeerIdentity } from '@butterfly/wire';
import { namesIn, readIfThere, writePrivate } from '../private-files.js';

/** Members that are members no more, until their certificates end by themselves. */
export class Revocations {
  readonly #untilMs = new Map<string, number>();

  private constructor(private readonly directory: string | null) {}

  /** Those kept in this folder, which is made with the first one; null keeps none. @throws Error of the system */
  static async open(directory: string | null): Promise<Revocations> {
    const revocations = new Revocations(directory);
    if (directory !== null) await revocations.#load(directory);
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
    if (this.directory !== null) await writePrivate(join(this.directory, id), String(expiresAtMs));
  }

  /** A damaged record counts for ever, so that nobody is let in for it. */
  async #load(directory: string): Promise<void> {
    const kept: { readonly id: string; readonly untilMs: number }[] = [];
    for (const id of await namesIn(directory)) {
      const text = await readIfThere(join(directory, id));
      const untilMs = /^\d+$/u.test(text ?? '') ? Number(text) : Infinity;
      if (untilMs > Date.now()) kept.push({ id, untilMs });
      else await rm(join(directory, id), { force: true });
    }
    for (const { id, untilMs } of kept.sort((a, b) => a.untilMs - b.untilMs)) this.#note(id, untilMs);
  }

  /** At the bound the one goes that was revoked first, whose certificate ends first as a rule. */
  #note(id: string, untilMs: number): void {
    this.#untilMs.delete(id);
    this.#untilMs.set(id, untilMs);
    const [oldest] = this.#untilMs.keys();
    if (this.#untilMs.size > limits.revokedMax && oldest !== undefined) this.#untilMs.delete(oldest);
  }
}
