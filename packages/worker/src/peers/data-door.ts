import { ButterflyError, type Clock, deadlines, type WorkerObserver } from '@butterfly/common';
import {
  callerOf,
  Connection,
  type ControlMessage,
  Doorkeeper,
  type IncomingStream,
  type Listener,
  type Transport,
  decodeControl,
  turnAway,
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
  readonly observe: WorkerObserver;
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
    const doorkeeper = new Doorkeeper(options.clock);
    return new DataDoor(
      await transport.listen({ host, port, onConnection: (stream) => accept(stream, doorkeeper, options) }),
    );
  }

  get port(): number {
    return this.listener.port;
  }

  async close(): Promise<void> {
    await this.listener.close();
  }
}

/**
 * Members that broke the protocol are kept out for a while; what they would have sent goes through the orchestrator then, which
 * sees what they do. Where nobody proves who they are, an address may stand for all stages before this one, so that whoever
 * breaks the protocol there is cut off and named, and no more.
 */
function accept(stream: IncomingStream, doorkeeper: Doorkeeper, options: DataDoorOptions): void {
  const { clock, observe } = options;
  const caller = callerOf(stream);
  const refusal = caller.isProven ? doorkeeper.refusal(caller) : null;
  if (refusal) {
    turnAway(stream, refusal, clock);
    return;
  }
  receive(stream, options, (error, { peer }) => {
    const isFirst = doorkeeper.refusal(caller) === null;
    const { told, offences, keptOutMs } = doorkeeper.broke(caller, error);
    const [member, reason] = [stream.identity?.id ?? null, error.message];
    if (caller.isProven) observe({ kind: 'protocolBroken', peer, member, reason, offences, keptOutMs });
    // Strangers may come as often as they like, and are named as seldom as they would be let in.
    else if (isFirst) observe({ kind: 'protocolBroken', peer, member, reason, offences, keptOutMs: 0 });
    return caller.isProven ? told : error;
  });
}

function receive(
  stream: IncomingStream,
  { clock, secret, links, guests }: DataDoorOptions,
  onBreach: (error: ButterflyError, connection: Connection) => ButterflyError,
): void {
  let isGreeted = false;
  const connection: Connection = new Connection(stream, {
    clock,
    isStranger: true,
    handlers: {
      onBreach: (error) => onBreach(error, connection),
      onFrame: (frame) => {
        if (guests.has(connection)) guests.receive(connection, frame);
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
