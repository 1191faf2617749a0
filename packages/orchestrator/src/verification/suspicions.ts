/** Accused workers that are remembered: more than ever are at once. */
const accusedMax = 64;

/**
 * Whose numbers were other than those of whom. Two workers that disagree do not say which of them is wrong; but should the one
 * that accused another be accused by a third, what it said of others counts no more. By identity, since a worker comes back
 * under another id. A pure table.
 */
export class Suspicions {
  /** By whom each was accused; the oldest first. */
  readonly #accusers = new Map<string, Set<string>>();

  /** Gives who is to be let in again by that. */
  accuse(accused: string, accuser: string): { readonly readmitted: readonly string[] } {
    const accusers = this.#accusers.get(accused) ?? new Set();
    accusers.add(accuser);
    this.#accusers.set(accused, accusers);
    const readmitted: string[] = [];
    for (const [other, by] of this.#accusers) {
      if (other === accused || !by.delete(accused) || by.size > 0) continue;
      this.#accusers.delete(other);
      readmitted.push(other);
    }
    for (const oldest of this.#accusers.keys()) {
      if (this.#accusers.size <= accusedMax) break;
      this.#accusers.delete(oldest);
    }
    return { readmitted };
  }

  isAccused(identity: string): boolean {
    return this.#accusers.has(identity);
  }
}
