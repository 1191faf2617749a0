import type { Clock } from '@butterfly/common';
import type { Membership } from '@butterfly/identity';
import { type Connection, type ControlMessageOf, encodeControl } from '@butterfly/wire';

/** Has the certificate of this worker renewed in time, for as long as a session lasts. */
export class Renewals {
  #cancel: () => void = () => undefined;

  constructor(
    private readonly orchestrator: Pick<Connection, 'send'>,
    private readonly membership: Membership,
    private readonly clock: Clock,
  ) {
    this.#schedule();
  }

  /** @throws ButterflyError PROTOCOL_INVALID for a certificate that was not asked for */
  async receive(message: ControlMessageOf<'renewed'>): Promise<void> {
    await this.membership.renewed(message);
    this.#schedule();
  }

  end(): void {
    this.#cancel();
  }

  #schedule(): void {
    const dueMs = this.membership.renewalDueMs();
    if (dueMs === null) return;
    this.#cancel();
    this.#cancel = this.clock.after(dueMs, () =>
      this.orchestrator.send(encodeControl(this.membership.renewal())),
    );
  }
}
