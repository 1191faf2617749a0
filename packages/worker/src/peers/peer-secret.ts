import { ButterflyError, secretsEqual } from '@butterfly/common';

/** The secret by which the workers of a cluster know each other. */
export class PeerSecret {
  #token: string | null = null;

  /** From now on whoever shows this one is a peer; who was let in stays in. */
  change(peerToken: string): void {
    this.#token = peerToken;
  }

  /** @throws ButterflyError JOIN_REFUSED unless it is shown the secret, and as long as there is none */
  check(shown: string): void {
    if (this.#token === null || !secretsEqual(this.#token, shown))
      throw new ButterflyError('JOIN_REFUSED', 'The peer token is not that of this cluster.');
  }
}
