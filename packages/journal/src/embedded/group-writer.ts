import type { Change } from './layout.js';

interface Waiting {
  readonly changes: readonly Change[];
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What one commit writes at most, unless a single write is larger: what the store copies at once. */
const commitBytesMax = 8 * 1024 * 1024;

/**
 * Gathers writes: while one commit is under way, all that come go into the next. They take effect in the order in which they
 * came, each whole.
 */
export class GroupWriter {
  #waiting: Waiting[] = [];
  #writing = false;

  /** @param commit writes changes, all or none; is never called again before it is done */
  constructor(private readonly commit: (changes: readonly Change[]) => Promise<void>) {}

  /** Resolves when the changes and all before them are written. No changes at all wait for those before them. */
  write(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const bytes = changes.reduce((sum, each) => sum + (each.type === 'put' ? each.value.length : 0), 0);
      this.#waiting.push({ changes, bytes, resolve, reject });
      if (this.#writing) return;
      this.#writing = true;
      // What comes of one step of the engine comes together: not its first entry alone.
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    for (let group = this.#next(); group.length > 0; group = this.#next()) {
      const changes = group.flatMap((each) => each.changes);
      try {
        if (changes.length > 0) await this.commit(changes);
        for (const { resolve } of group) resolve();
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#writing = false;
  }

  #next(): readonly Waiting[] {
    let bytes = 0;
    const end = this.#waiting.findIndex((each, at) => (bytes += each.bytes) > commitBytesMax && at > 0);
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }
}
