import { ButterflyError, type Clock, deadlines } from '@butterfly/common';
import {
  Connection,
  type ControlMessage,
  type IncomingStream,
  type Listener,
  type Transport,
  decodeControl,
} from '@butterfly/wire';
import type { IncomingLinks } from './stage-links.js';
import type { PeerGuests } from './peer-guests.js';
import type { PeerSecret } from './peer-secret.js';

export interface DataDoorOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly transport: Transport;
  readonly clock: Clock;
  /** What everybody must show who comes in. */
  readonly secret: PeerSecret;
  readonly links: IncomingLinks;
  readonly guests: PeerGuests;
}

/**
 * Where other workers come in: the stage before with its link, and those that measure or fetch. The first message of a
 * connection says what it is for, and shows the secret of the cluster.
 */
export class DataDoor {
  private constructor(private readonly listener: Listener) {}

  /** @throws ButterflyError ADDRESS_INVALID, PORT_IN_USE */
  static async open(options: DataDoorOptions): Promise<DataDoor> {
    const { host, port, transport } = options;
    return new DataDoor(
      await transport.listen({ host, port, onConnection: (stream) => receive(stream, options) }),
    );
  }

  get port(): number {
    return this.listener.port;
  }

  async close(): Promise<void> {
    await this.listener.close();
  }
}

function receive(stream: IncomingStream, { clock, secret, links, guests }: DataDoorOptions): void {
  let isGreeted = false;
  const connection: Connection = new Connection(stream, {
    clock,
    isStranger: true,
    handlers: {
      onFrame: (frame) => {
        if (guests.has(connection)) guests.receive(connection, decodeControl(frame));
        else if (isGreeted) links.receive(connection, frame);
        else {
          greet(decodeControl(frame));
          isGreeted = true;
          cancelDeadline();
        }
      },
      onClose: (error) => {
        cancelDeadline();
        links.lost(connection, error);
        guests.lost(connection);
      },
    },
  });
  const cancelDeadline = clock.after(deadlines.handshakeMs, () => {
    connection.fail(new ButterflyError('TIMEOUT', 'The connection did not say what it is for.'));
  });
  const greet = (message: ControlMessage): void => {
    if (message.kind !== 'link' && message.kind !== 'peer')
      throw new ButterflyError('PROTOCOL_INVALID', `A worker does not begin with "${message.kind}".`);
    secret.check(message.peerToken);
    if (message.kind === 'link') links.greet(connection, message);
    else guests.greet(connection);
  };
}
