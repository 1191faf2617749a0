import type { Socket } from 'node:net';
import { addressBlock, limits } from '@butterfly/common';

/** Sockets whose other sides have not proved yet who they are: few from one address, and few in all, so that others get in beside them. */
export class HalfOpen {
  readonly #byAddress = new Map<string, Set<Socket>>();
  #count = 0;

  /** Destroys a socket for which there is no place. */
  enter(socket: Socket): void {
    const address = addressBlock(socket.remoteAddress ?? '');
    const others = this.#byAddress.get(address);
    if (this.#count >= limits.halfOpenMax || (others?.size ?? 0) >= limits.halfOpenPerAddressMax) {
      socket.destroy();
      return;
    }
    this.#count++;
    if (others) others.add(socket);
    else this.#byAddress.set(address, new Set([socket]));
    socket.on('close', () => this.#leave(address, socket));
  }

  /** The other side of one of the sockets is a member. */
  leave(address: string | undefined, port: number | undefined): void {
    const block = addressBlock(address ?? '');
    for (const socket of this.#byAddress.get(block) ?? [])
      if (socket.remoteAddress === address && socket.remotePort === port) this.#leave(block, socket);
  }

  #leave(address: string, socket: Socket): void {
    const sockets = this.#byAddress.get(address);
    if (!sockets?.delete(socket)) return;
    this.#count--;
    if (sockets.size === 0) this.#byAddress.delete(address);
  }
}
