import type { Address } from '@butterfly/common';
import { type ControlMessageOf, tcpTransport, type Transport } from '@butterfly/wire';

/** How a worker proves itself, to its orchestrator and to other workers. */
export interface Membership {
  readonly transport: Transport;
  /** What its hello shows, where links prove nothing. */
  readonly token: string | null;
  /**
   * Gets a certificate, where this worker needs one and has none that holds.
   * @throws ButterflyError PEER_UNREACHABLE, PEER_UNTRUSTED, JOIN_REFUSED, TIMEOUT, CONNECTION_CLOSED
   */
  enrol(orchestrator: Address): Promise<void>;
  /** How long until the certificate is to be renewed; null where there is none. */
  renewalDueMs(): number | null;
  /** Asks for a new certificate. */
  renewal(): ControlMessageOf<'renew'>;
  /** Takes it. @throws ButterflyError PROTOCOL_INVALID for one that was not asked for */
  renewed(message: ControlMessageOf<'renewed'>): Promise<void>;
  /** These are no members any more. */
  revoked(members: readonly string[]): void;
}

/** Membership by a shared secret, over links that prove and hide nothing: for `--insecure`, and for simulations. */
export function plainMembership(token: string | null, transport: Transport = tcpTransport): Membership {
  return {
    transport,
    token,
    enrol: () => Promise.resolve(),
    renewalDueMs: () => null,
    renewal: () => {
      throw new RangeError('There is no certificate to renew.');
    },
    renewed: () => Promise.resolve(),
    revoked: () => undefined,
  };
}
