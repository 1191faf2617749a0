import type { Step } from '@butterfly/wire';
import type { CompiledStep } from './compiled-step.js';
import { FaultySlots, notFinite, rowsOf, type FaultOrigin, type StageFaults } from './faults.js';
import type { KvCache } from './kv-cache.js';
import type { RoomCache } from './room-cache.js';

type Sequences = Step['sequences'];

/** What was computed of a step. */
interface Computed {
  /** Token ids or activations. */
  readonly payload: Uint8Array;
  /** Rows that attend to what an earlier step left faulty. */
  readonly inherited: readonly number[];
  readonly outputs: ReturnType<CompiledStep['outputs']>;
}

/**
 * Finds the rows of steps whose numbers are NaN or infinite, and keeps what they leave in the cache from others. In a
 * model that is in order, it costs a look at one sum for each row.
 */
export class StageFaultFinder {
  readonly #slots: FaultySlots;
  #isUnsound = false;

  constructor(
    private readonly cache: KvCache,
    private readonly rooms: RoomCache,
    private readonly stage: { readonly isFirst: boolean },
  ) {
    this.#slots = new FaultySlots(cache.slots);
  }

  /** From now on, whatever this stage computes is faulty, because its weights are. */
  condemn(): void {
    this.#isUnsound = true;
  }

  /**
   * To be called when the copies of a step are done, and before it is computed. Empties faulty slots that its rows do not
   * see: attention over many rows reads whole blocks of the cache, and what it masks as well.
   * @returns the rows that attend to a faulty slot
   */
  prepare({ copies, sequences }: Pick<Step, 'copies' | 'sequences'>): number[] {
    const inherited: number[] = [];
    this.rooms.emptyFaulty(sequences);
    if (this.#slots.isEmpty) return inherited;
    for (const copy of copies) this.#slots.copy(copy);
    for (const { sequence, rowStart, rowEnd } of rowsOf(sequences)) {
      const { regionStart, regionSlots, positionStart, rows } = sequence;
      const start = regionStart + positionStart;
      for (const slot of this.#slots.within(start, regionStart + regionSlots)) {
        this.#slots.mark(slot, false);
        // The others are written by this step.
        if (slot >= start + rows) this.cache.empty(slot);
      }
      if (this.#slots.within(regionStart, start).length === 0) continue;
      for (let row = rowStart; row < rowEnd; row++) inherited.push(row);
    }
    return inherited;
  }

  /** Null where all is in order. What goes on to the next stage of a faulty row is not finite either. */
  find(sequences: Sequences, { payload, inherited, outputs }: Computed): StageFaults | null {
    const { rowSums, logitRowSums, activations } = outputs;
    const found = this.#isUnsound ? [...rowSums.keys()] : notFinite(rowSums);
    const logitRows = new Set(notFinite(logitRowSums));
    if (found.length === 0 && inherited.length === 0 && logitRows.size === 0) return null;
    const rows = new Map<number, FaultOrigin>();
    for (const row of found)
      rows.set(row, this.#cameFaulty(payload, row, rowSums.length) ? 'before' : 'here');
    for (const row of inherited) rows.set(row, 'before');
    if (activations) for (const row of rows.keys()) makeFaulty(activations, row, rowSums.length);
    this.#mark(sequences, rows, logitRows);
    return { rows, logitRows };
  }

  /** What faulty rows wrote to the cache is so, too. */
  #mark(sequences: Sequences, rows: ReadonlyMap<number, FaultOrigin>, logitRows: ReadonlySet<number>): void {
    let logitEnd = 0;
    for (const { sequence, rowStart, rowEnd } of rowsOf(sequences)) {
      logitEnd += sequence.logitRows;
      for (let row = rowStart; row < rowEnd; row++) {
        const hasFaultyLogits = row >= rowEnd - sequence.logitRows && logitRows.has(logitEnd - rowEnd + row);
        if (!rows.has(row) && !hasFaultyLogits) continue;
        this.#slots.mark(sequence.regionStart + sequence.positionStart + row - rowStart);
        this.rooms.mark(sequence, row - rowStart);
      }
    }
  }

  #cameFaulty(payload: Uint8Array, row: number, rows: number): boolean {
    return !this.stage.isFirst && notFinite(rowOf(payload, row, rows)).length > 0;
  }
}

/** A copy of one row of activations, which may lie at any alignment. */
function rowOf(activations: Uint8Array, row: number, rows: number): Float32Array {
  const rowBytes = activations.byteLength / rows;
  // Not `slice`, of which a Buffer has its own that copies nothing.
  return new Float32Array(Uint8Array.from(activations.subarray(row * rowBytes, (row + 1) * rowBytes)).buffer);
}

function makeFaulty(activations: Uint8Array, row: number, rows: number): void {
  const at = (activations.byteLength / rows) * row;
  new DataView(activations.buffer, activations.byteOffset, activations.byteLength).setFloat32(at, NaN, true);
}
