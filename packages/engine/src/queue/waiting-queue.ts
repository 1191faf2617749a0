/** What the queue orders by: the lower rank first, and of equals the one with the lower id. */
export interface Ranked {
  readonly id: number;
  readonly rank: number;
}

/** Those that wait, best rank first: a binary heap that knows where everybody is, so that anybody can leave. */
export class WaitingQueue<T extends Ranked> {
  readonly #heap: T[] = [];
  readonly #places = new Map<number, number>();

  get size(): number {
    return this.#heap.length;
  }

  /** The first in order. */
  get head(): T | undefined {
    return this.#heap[0];
  }

  has(item: T): boolean {
    return this.#places.has(item.id);
  }

  add(item: T): void {
    this.#put(item, this.#heap.length);
    this.#rise(this.#heap.length - 1);
  }

  /** False when it does not wait. */
  delete(item: T): boolean {
    const place = this.#places.get(item.id);
    if (place === undefined) return false;
    this.#places.delete(item.id);
    const last = this.#heap.pop();
    if (last !== undefined && last.id !== item.id) {
      this.#put(last, place);
      this.#rise(place);
      this.#sink(this.#places.get(last.id) ?? place);
    }
    return true;
  }

  #put(item: T, place: number): void {
    this.#heap[place] = item;
    this.#places.set(item.id, place);
  }

  #rise(start: number): void {
    for (let place = start; place > 0;) {
      const parent = (place - 1) >> 1;
      if (!this.#swapUnlessOrdered(parent, place)) return;
      place = parent;
    }
  }

  #sink(start: number): void {
    for (let place = start; ;) {
      const [left, right] = [place * 2 + 1, place * 2 + 2];
      const [a, b] = [this.#heap[left], this.#heap[right]];
      if (a === undefined) return;
      const child = b !== undefined && precedes(b, a) ? right : left;
      if (!this.#swapUnlessOrdered(place, child)) return;
      place = child;
    }
  }

  #swapUnlessOrdered(upper: number, lower: number): boolean {
    const [a, b] = [this.#heap[upper], this.#heap[lower]];
    if (a === undefined || b === undefined || !precedes(b, a)) return false;
    this.#put(b, upper);
    this.#put(a, lower);
    return true;
  }
}

/** Whether `a` goes before `b`. */
export function precedes(a: Ranked, b: Ranked): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.id < b.id);
}
