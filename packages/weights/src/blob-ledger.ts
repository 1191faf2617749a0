/** What is stored, the least recently used first, and what may not be removed now. Pure bookkeeping. */
export class BlobLedger {
  /** In the order of use. */
  readonly #bytesByHash = new Map<string, number>();
  readonly #holds = new Map<string, number>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get hashes(): Iterable<string> {
    return this.#bytesByHash.keys();
  }

  bytesOf(hash: string): number | undefined {
    return this.#bytesByHash.get(hash);
  }

  /** Notes a blob, or another use of it, as the most recent one. */
  use(hash: string, bytes: number): void {
    this.remove(hash);
    this.#bytesByHash.set(hash, bytes);
    this.#bytes += bytes;
  }

  remove(hash: string): void {
    this.#bytes -= this.#bytesByHash.get(hash) ?? 0;
    this.#bytesByHash.delete(hash);
  }

  /** Keeps a blob from being the oldest until `release`; holds count. */
  hold(hash: string): void {
    this.#holds.set(hash, (this.#holds.get(hash) ?? 0) + 1);
  }

  release(hash: string): void {
    const holds = (this.#holds.get(hash) ?? 0) - 1;
    if (holds > 0) this.#holds.set(hash, holds);
    else this.#holds.delete(hash);
  }

  /** The least recently used blob that nobody holds. */
  oldest(): string | null {
    for (const hash of this.#bytesByHash.keys()) if (!this.#holds.has(hash)) return hash;
    return null;
  }
}
