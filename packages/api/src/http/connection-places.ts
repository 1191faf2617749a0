import { addressBlock, ButterflyError } from '@butterfly/common';

export interface PlacesOptions {
  readonly connectionsMax: number;
  /** Whether others come from that address too, so that only what all have together is bounded. */
  readonly isShared: (address: string) => boolean;
}

/**
 * Places of connections. Of one address as many may be taken as are then free, so that nobody keeps all others out: one alone
 * has half of them, two a third each.
 */
export class ConnectionPlaces {
  readonly #taken = new Map<string, number>();
  #free: number;

  constructor(private readonly options: PlacesOptions) {
    this.#free = options.connectionsMax;
  }

  /** Null where there is a place, which is taken then; else QUEUE_FULL. */
  take(address: string): ButterflyError | null {
    const block = addressBlock(address);
    const taken = this.#taken.get(block) ?? 0;
    if (this.#free <= 0)
      return refused(`This server has ${this.options.connectionsMax} connections, and takes no more`);
    if (taken >= this.#free && !this.options.isShared(address))
      return refused(`This server has ${taken} connections from your address, and keeps the rest for others`);
    this.#taken.set(block, taken + 1);
    this.#free--;
    return null;
  }

  leave(address: string): void {
    const block = addressBlock(address);
    const left = (this.#taken.get(block) ?? 0) - 1;
    if (left > 0) this.#taken.set(block, left);
    else this.#taken.delete(block);
    this.#free++;
  }
}

function refused(why: string): ButterflyError {
  return new ButterflyError('QUEUE_FULL', `${why}; close some, or retry later.`);
}
