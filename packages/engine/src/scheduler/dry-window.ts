import type { DrySampling } from '@butterfly/wire';

/**
 * Which breakers of a request a step has to carry: vocabularies have thousands of tokens with a line break in them, of which
 * only those are of interest that are in sight.
 */
export class DryWindow {
  readonly #byHead = new Map<number, Int32Array[]>();

  constructor(private readonly dry: DrySampling) {
    for (const breaker of dry.breakers) {
      const head = breaker[0] ?? -1;
      const others = this.#byHead.get(head);
      if (others) others.push(breaker);
      else this.#byHead.set(head, [breaker]);
    }
  }

  /** With the breakers that begin with any of these tokens. */
  within(recentTokens: Int32Array, guesses: Int32Array): DrySampling {
    const breakers: Int32Array[] = [];
    if (this.#byHead.size > 0)
      for (const token of new Set([...recentTokens, ...guesses]))
        breakers.push(...(this.#byHead.get(token) ?? []));
    return { ...this.dry, breakers };
  }
}
