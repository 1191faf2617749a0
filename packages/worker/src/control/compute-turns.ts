/** A turn to compute, until it is disposed. */
export type ComputeTurn = Disposable;

/**
 * Whose turn it is to compute, where a worker has stages of several models: first come, first served. Threads of two graphs at
 * once would wait for each other at every barrier, which costs several times what waiting does.
 */
export class ComputeTurns {
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;

  /** Resolves when nobody else computes. A stage asks for one step at a time, so that stages take turns. */
  async take(): Promise<ComputeTurn> {
    if (this.#isTaken) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#isTaken = true;
    return { [Symbol.dispose]: () => this.#giveOn() };
  }

  #giveOn(): void {
    const next = this.#waiting.shift();
    // It stays taken meanwhile: whoever comes first afterwards is not let in before.
    if (next) next();
    else this.#isTaken = false;
  }
}
