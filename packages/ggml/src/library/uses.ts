import { ensure } from '@butterfly/common';

/** Native calls that run on other threads over one resource, which must not be freed beneath them. */
export class Uses {
  #count = 0;

  /** One begins; it ends when what this returns is called. */
  begin(): () => void {
    this.#count++;
    return () => {
      this.#count--;
    };
  }

  /** @throws ButterflyError COMPUTE_INVALID while there are any */
  ensureNone(resource: string): void {
    ensure(this.#count === 0, () => `${resource} is in use by a computation; wait for its end first.`);
  }
}
