/** Accused workers that are remembered: more than ever are at once. */
const accusedMax = 64;

interface Accusation {
  readonly by: ReadonlySet<string>;
  /** What people are told of the last one. */
  readonly words: string;
}

/**
 * Whose numbers were other than those of whom. Two workers that disagree do not say which of them is wrong; but should the one
 * that accused another be accused by a third, what it said of others counts no more. By identity, since a worker comes back
 * under another id. A pure table.
 */
export class Suspicions {
  /** By who is accused, the oldest first. */
  readonly #accusations = new Map<string, Accusation>();

  get accused(): { readonly identity: string; readonly words: string }[] {
    return [...this.#accusations].map(([identity, { words }]) => ({ identity, words }));
  }

  /** Gives who is to be let in again by that. */
  accuse(accused: string, accuser: string, words: string): { readonly readmitted: readonly string[] } {
    const by = new Set(this.#accusations.get(accused)?.by).add(accuser);
    this.#accusations.delete(accused);
    this.#accusations.set(accused, { by, words });
    const isAccused = (identity: string): boolean => this.#accusations.has(identity);
    const readmitted = [...this.#accusations].flatMap(([other, { by: accusers }]) =>
      accusers.has(accused) && [...accusers].every(isAccused) ? [other] : [],
    );
    for (const each of readmitted) this.#accusations.delete(each);
    for (const oldest of this.#accusations.keys()) {
      if (this.#accusations.size <= accusedMax) break;
      this.#accusations.delete(oldest);
    }
    return { readmitted };
  }
}
