import type { Backend } from '@butterfly/ggml';
import { type LayerAttention, type LayerCache, type WindowsOfModel, fitsRooms } from '@butterfly/model';
import type { ArenaCopy, CacheType, Step, StepSequence } from '@butterfly/wire';
import { FaultySlots } from './faults.js';
import { KvCache } from './kv-cache.js';

type Sequences = Step['sequences'];

/**
 * The rooms of a stage: for each of its window layers, keys and values of as many tokens as the window of a sequence needs,
 * and the rows of a step behind them. Steps say which room, and with which token it begins.
 */
export class RoomCache implements Disposable {
  readonly #cache: KvCache;
  readonly #faulty: FaultySlots;
  readonly #roomSlots: number;

  /**
   * Allocates; `clear` must run before the first step.
   * @param windows null for a model without rooms, of which this is empty.
   * @throws ButterflyError COMPUTE_INVALID, COMPUTE_FAILED, as `KvCache`
   */
  constructor(
    backend: Backend,
    layers: readonly (LayerAttention | null)[],
    windows: WindowsOfModel | null,
    type: CacheType,
  ) {
    const slots = windows ? windows.rooms * windows.roomSlots : 0;
    this.#roomSlots = windows?.roomSlots ?? 0;
    this.#cache = new KvCache(
      backend,
      layers.map((layer) => (isInRooms(layer, windows) ? layer : null)),
      slots,
      type,
    );
    this.#faulty = new FaultySlots(slots);
  }

  /** Null for a layer that has no window, or attends to nothing. */
  get layers(): readonly (LayerCache | null)[] {
    return this.#cache.layers;
  }

  get bytes(): number {
    return this.#cache.bytes;
  }

  /** Zeroes all rooms; see `KvCache.clear`. */
  clear(options?: Parameters<KvCache['clear']>[0]): Promise<void> {
    return this.#cache.clear(options);
  }

  /** Moves what rows of a step see of the tokens before them to where they will follow, in the order of the sequences. */
  move(sequences: Sequences): void {
    for (const copy of sequences.flatMap((sequence) => this.#copyOf(sequence) ?? [])) {
      this.#cache.copy(copy);
      this.#faulty.copy(copy);
    }
  }

  /** What a row wrote is not finite. */
  mark({ window, positionStart }: StepSequence, row: number): void {
    if (window) this.#faulty.mark(this.#slotOf(window.to, positionStart + row - window.toFirst));
  }

  /** Empties faulty slots behind what the rows of a step see, since kernels read them, though they mask them. */
  emptyFaulty(sequences: Sequences): void {
    if (this.#faulty.isEmpty) return;
    for (const { window, positionStart, rows } of sequences) {
      if (!window) continue;
      const start = this.#slotOf(window.to, positionStart - window.toFirst);
      for (const slot of this.#faulty.within(start, this.#slotOf(window.to + 1, 0))) {
        this.#faulty.mark(slot, false);
        // The others are written by this step.
        if (slot >= start + rows) this.#cache.empty(slot);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }

  #slotOf(room: number, slot: number): number {
    return room * this.#roomSlots + slot;
  }

  #copyOf({ window, positionStart }: StepSequence): ArenaCopy | null {
    if (!window || positionStart === window.toFirst) return null;
    const { from, fromFirst, to, toFirst } = window;
    if (from === to && fromFirst === toFirst) return null;
    return {
      fromSlot: this.#slotOf(from, toFirst - fromFirst),
      toSlot: this.#slotOf(to, 0),
      slots: positionStart - toFirst,
    };
  }
}

/** Whether the keys and values of a layer lie in rooms. */
export function isInRooms(layer: LayerAttention | null, windows: WindowsOfModel | null): boolean {
  return windows !== null && fitsRooms(layer);
}
