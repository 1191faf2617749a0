/**
 * Places that are taken and given back. So that one who keeps them for long does not keep out all others, nobody gets
 * more of them than are then left: one alone gets half of them, two get a third each.
 */
export class FairPlaces<Owner> {
  readonly #taken = new Map<Owner, number>();
  #waiting: { readonly owner: Owner; readonly grant: () => void }[] = [];
  #free: number;

  constructor(places: number) {
    this.#free = places;
  }

  /** Resolves when there is a place, first come first served among those whose turn it may be. */
  take(owner: Owner): Promise<void> {
    return new Promise((grant) => {
      this.#waiting.push({ owner, grant });
      this.#grant();
    });
  }

  giveBack(owner: Owner): void {
    const left = this.#takenBy(owner) - 1;
    if (left > 0) this.#taken.set(owner, left);
    else this.#taken.delete(owner);
    this.#free++;
    this.#grant();
  }

  #grant(): void {
    this.#waiting = this.#waiting.filter(({ owner, grant }) => {
      if (this.#takenBy(owner) >= this.#free) return true;
      this.#taken.set(owner, this.#takenBy(owner) + 1);
      this.#free--;
      grant();
      return false;
    });
  }

  #takenBy(owner: Owner): number {
    return this.#taken.get(owner) ?? 0;
  }
}
