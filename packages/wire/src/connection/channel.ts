import { ButterflyError } from '@butterfly/common';
import type { Connection } from './connection.js';
import { putOnChannel } from '../frames/frame.js';

/** What frames are sent by: a connection, or a channel of one. */
export type Outlet = Pick<Connection, 'isOpen' | 'send' | 'drained' | 'fail'>;

/** The part of a connection that one model has to itself. */
export class Channel implements Outlet {
  #isClosed = false;

  /** @param number from 1 to `limits.channelsMax` */
  constructor(
    private readonly connection: Connection,
    readonly number: number,
  ) {}

  get isOpen(): boolean {
    return !this.#isClosed && this.connection.isOpen;
  }

  /** As a connection does. The frame is this channel's from now on, and must have been laid out for it alone. */
  send(parts: readonly Uint8Array[]): void {
    if (!this.isOpen) return;
    putOnChannel(parts, this.number);
    this.connection.send(parts);
  }

  /** @throws ButterflyError as a connection does; CONNECTION_CLOSED for a channel that is closed */
  drained(): Promise<void> {
    if (this.#isClosed)
      return Promise.reject(new ButterflyError('CONNECTION_CLOSED', 'The model is not served any more.'));
    return this.connection.drained();
  }

  /** The whole connection ends: whoever breaks the protocol on one channel is not to be trusted on another. */
  fail(error: ButterflyError): void {
    this.connection.fail(error);
  }

  /** Nothing is sent any more; the connection goes on. */
  close(): void {
    this.#isClosed = true;
  }
}
