import { Worker } from 'node:worker_threads';
import { ButterflyError, type Clock, deadlines } from '@butterfly/common';
import { MaskRows } from './mask-memory.js';
import type { FromMaskThread, MaskOrder, MaskThreadData, ToMaskThread } from './mask-messages.js';
import type { TokenTable } from '@butterfly/wire';

const program = new URL('../../dist/masks/mask-thread-main.js', import.meta.url);
/** A grammar that takes more than this is no grammar of a request. */
const memoryMib = 512;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: ButterflyError) => void;
}

/** A thread with grammars and places in them. It ends on whatever goes wrong in it, and all that waits is told. */
export class MaskThread {
  readonly #worker: Worker;
  readonly #rows: MaskRows;
  readonly #freeRows: number[] = [];
  readonly #compiling = new Map<number, Waiter>();
  readonly #orders = new Map<number, Waiter>();
  #serial = 0;
  #lastCompile: Promise<void> = Promise.resolve();
  #end: ButterflyError | null = null;

  constructor(
    table: TokenTable,
    private readonly clock: Clock,
  ) {
    this.#rows = new MaskRows(table.offsets.length - 1);
    const workerData: MaskThreadData = { table };
    const resourceLimits = { maxOldGenerationSizeMb: memoryMib };
    this.#worker = new Worker(program, { workerData, resourceLimits, execArgv: [] });
    this.#worker.on('message', (message: FromMaskThread) => this.#receive(message));
    this.#worker.on('error', (error) => this.#ended(error.message));
    this.#worker.on('exit', () => this.#ended('it ended'));
    // Who waits for masks keeps the process up by itself.
    this.#worker.unref();
  }

  get isAlive(): boolean {
    return this.#end === null;
  }

  /**
   * One grammar after another; the time of each begins when those before it are done, as they take the thread's.
   * @throws ButterflyError COMPUTE_FAILED when the grammar is none, or compiling it takes too long; the thread is over then
   */
  async compile(constraintId: number, grammar: string): Promise<void> {
    const before = this.#lastCompile;
    const compiling = before.then(() => this.#compileNow(constraintId, grammar));
    // Whoever waits for it is told of its failure; those behind it find the thread over.
    this.#lastCompile = compiling.catch(() => undefined);
    await compiling;
  }

  async #compileNow(constraintId: number, grammar: string): Promise<void> {
    const { constraintMs } = deadlines;
    const cancel = this.clock.after(constraintMs, () => {
      this.#ended(`a grammar took over ${constraintMs} ms to compile`);
      void this.#worker.terminate();
    });
    try {
      await this.#wait(this.#compiling, constraintId, { kind: 'compile', constraintId, grammar });
    } finally {
      cancel();
    }
  }

  drop(constraintId: number): void {
    this.#post({ kind: 'drop', constraintId });
  }

  /** A row for a mask, until it is given back. */
  takeRow(): number {
    const free = this.#freeRows.pop();
    if (free !== undefined) return free;
    const first = this.#rows.count;
    this.#post({ kind: 'memory', buffer: this.#rows.grown() });
    for (let row = this.#rows.count - 1; row > first; row--) this.#freeRows.push(row);
    return first;
  }

  giveRows(rows: readonly number[]): void {
    this.#freeRows.push(...rows);
  }

  /** The mask in a row: bits of tokens that may come next. */
  mask(row: number): Int32Array {
    return this.#rows.row(row);
  }

  /** Resolves when the masks are in their rows. @throws ButterflyError COMPUTE_FAILED when the thread is over */
  async carryOut(orders: readonly MaskOrder[], forgotten: readonly number[]): Promise<void> {
    const serial = this.#serial++;
    await this.#wait(this.#orders, serial, { kind: 'orders', serial, orders, forgotten });
  }

  async close(): Promise<void> {
    this.#ended('it was closed');
    await this.#worker.terminate();
  }

  #wait(waiting: Map<number, Waiter>, key: number, message: ToMaskThread): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#end) {
        reject(this.#end);
        return;
      }
      waiting.set(key, { resolve, reject });
      this.#post(message);
    });
  }

  #post(message: ToMaskThread): void {
    if (this.#end === null) this.#worker.postMessage(message);
  }

  #receive(message: FromMaskThread): void {
    switch (message.kind) {
      case 'compiled':
        this.#compiling.get(message.constraintId)?.resolve();
        this.#compiling.delete(message.constraintId);
        return;
      case 'done':
        this.#orders.get(message.serial)?.resolve();
        this.#orders.delete(message.serial);
        return;
      default:
        message satisfies never;
    }
  }

  #ended(reason: string): void {
    this.#end ??= new ButterflyError(
      'COMPUTE_FAILED',
      `The thread that holds answers to their constraints is over: ${reason}.`,
    );
    for (const waiting of [this.#compiling, this.#orders]) {
      for (const { reject } of waiting.values()) reject(this.#end);
      waiting.clear();
    }
  }
}
