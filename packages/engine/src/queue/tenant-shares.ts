import { limits } from '@butterfly/common';

/** Whoever names no tenant: all of them are one. */
export const nobody = '';

/**
 * What each tenant was given, in tokens, over all replicas: who was given least goes first. Whoever comes back after a pause
 * is lifted to the least of those that wait, so that nobody saves up. It is the virtual token counter of Sheng et al.,
 * "Fairness in Serving Large Language Models", OSDI 2024, algorithm 2.
 */
export class TenantShares {
  readonly #given = new Map<string, number>();
  /** Requests of each that wait anywhere. */
  readonly #waiting = new Map<string, number>();
  /** What had been given to the last one that had nothing waiting any more. */
  #lastGiven = 0;

  given(tenant: string): number {
    return this.#given.get(tenant) ?? 0;
  }

  give(tenant: string, tokens: number): void {
    this.#given.set(tenant, this.given(tenant) + tokens);
  }

  /** A request begins to wait. */
  waits(tenant: string): void {
    const others = this.#waiting.get(tenant) ?? 0;
    if (others === 0) this.#given.set(tenant, Math.max(this.given(tenant), this.#least()));
    this.#waiting.set(tenant, others + 1);
    if (this.#given.size > limits.tenantsRememberedMax) this.#forgetOne();
  }

  /** A request waits no more. */
  left(tenant: string): void {
    const others = (this.#waiting.get(tenant) ?? 1) - 1;
    if (others > 0) {
      this.#waiting.set(tenant, others);
      return;
    }
    this.#waiting.delete(tenant);
    this.#lastGiven = this.given(tenant);
  }

  #least(): number {
    if (this.#waiting.size === 0) return this.#lastGiven;
    let least = Infinity;
    for (const tenant of this.#waiting.keys()) least = Math.min(least, this.given(tenant));
    return least;
  }

  /** Who was given least loses least by it: it is lifted when it comes back. */
  #forgetOne(): void {
    let least: string | null = null;
    for (const [tenant, given] of this.#given)
      if (!this.#waiting.has(tenant) && (least === null || given < this.given(least))) least = tenant;
    if (least !== null) this.#given.delete(least);
  }
}
