import {
  ButterflyError,
  Connection,
  deadlines,
  decodeActivations,
  decodeControl,
  decodeStep,
  dial,
  encodeControl,
  listen,
  systemClock,
  type Activations,
  type ControlMessageOf,
  type Frame,
  type Listener,
  type Step,
} from '@butterfly/common';

type NextHop = NonNullable<ControlMessageOf<'assign'>['next']>;

interface Expected {
  readonly epoch: number;
  readonly linkToken: string;
  readonly onStep: (step: Step) => void;
  readonly onActivations: (activations: Activations) => void;
  readonly onLost: (error: ButterflyError) => void;
}

/** A dialled link that waits for this worker to learn of its epoch. */
interface Early {
  readonly message: ControlMessageOf<'link'>;
  readonly connection: Connection;
  readonly cancelDeadline: () => void;
}

/** Links waiting for their epoch; more than a few means that somebody plays tricks. */
const earlyMax = 16;

/** The door through which the stage before this one sends activations. */
export class LinkServer {
  #expected: Expected | null = null;
  #early: Early[] = [];
  #active: Connection | null = null;

  private constructor(private readonly listener: { current: Listener | null }) {}

  /** @throws ButterflyError ADDRESS_INVALID, PORT_IN_USE */
  static async start(host: string, port: number): Promise<LinkServer> {
    const holder: { current: Listener | null } = { current: null };
    const server = new LinkServer(holder);
    holder.current = await listen({
      host,
      port,
      onConnection: (socket) => {
        const connection: Connection = new Connection(socket, {
          handlers: {
            onFrame: (frame) => {
              if (frame.type === 'control') server.#greet(connection, decodeControl(frame));
              else server.#receive(connection, frame);
            },
            onClose: (error) => server.#lost(connection, error),
          },
        });
      },
    });
    return server;
  }

  get port(): number {
    return this.listener.current?.port ?? 0;
  }

  /** From now on the link of this epoch is welcome, and the one before it is not. */
  expect(expected: Expected | null): void {
    this.#expected = expected;
    void this.#active?.close('the epoch is over');
    this.#active = null;
    for (const early of this.#early.splice(0)) {
      early.cancelDeadline();
      this.#greet(early.connection, early.message);
    }
  }

  async close(): Promise<void> {
    this.expect(null);
    await this.listener.current?.close();
  }

  #greet(connection: Connection, message: ReturnType<typeof decodeControl>): void {
    if (message.kind !== 'link')
      throw new ButterflyError('PROTOCOL_INVALID', `A link began with "${message.kind}".`);
    const expected = this.#expected;
    if (expected?.epoch === message.epoch && expected.linkToken === message.linkToken) {
      this.#active = connection;
      connection.send(encodeControl({ kind: 'linked', epoch: message.epoch }));
      return;
    }
    const isEarly = message.epoch > (expected?.epoch ?? -1);
    if (!isEarly || this.#early.length >= earlyMax) {
      connection.fail(
        new ButterflyError('JOIN_REFUSED', `This worker has no stage in epoch ${message.epoch}.`),
      );
      return;
    }
    const cancelDeadline = systemClock.after(deadlines.handshakeMs, () => {
      this.#early = this.#early.filter((early) => early.connection !== connection);
      connection.fail(
        new ButterflyError('TIMEOUT', `This worker was given no stage in epoch ${message.epoch}.`),
      );
    });
    this.#early.push({ message, connection, cancelDeadline });
  }

  #receive(connection: Connection, frame: Frame): void {
    if (connection !== this.#active)
      throw new ButterflyError('JOIN_REFUSED', 'A step came over a link that proved no epoch.');
    if (frame.type === 'activations') this.#expected?.onActivations(decodeActivations(frame));
    else this.#expected?.onStep(decodeStep(frame));
  }

  #lost(connection: Connection, error: ButterflyError | null): void {
    this.#early = this.#early.filter((early) => {
      if (early.connection === connection) early.cancelDeadline();
      return early.connection !== connection;
    });
    if (connection !== this.#active) return;
    this.#active = null;
    // A goodbye means that the stage before knows of the end of the epoch already.
    if (error) this.#expected?.onLost(error);
  }
}

/**
 * Dials the next stage and proves the epoch.
 * @throws ButterflyError PEER_UNREACHABLE, TIMEOUT, or what the next stage answers.
 */
export async function dialNext(
  next: NextHop,
  epoch: number,
  linkToken: string,
  fromStage: number,
  onLost: (error: ButterflyError) => void,
): Promise<Connection> {
  let settle: (error: ButterflyError | null) => void = () => undefined;
  const linked = new Promise<void>((resolve, reject) => {
    settle = (error) => {
      if (error) reject(error);
      else resolve();
    };
  });
  let isLinked = false;
  const connection = await dial({
    ...next,
    handlers: {
      onFrame: (frame) => {
        const message = decodeControl(frame);
        if (message.kind !== 'linked' || message.epoch !== epoch)
          throw new ButterflyError('PROTOCOL_INVALID', `The next stage answered "${message.kind}".`);
        isLinked = true;
        settle(null);
      },
      onClose: (error) => {
        if (isLinked && error) onLost(error);
        settle(error ?? new ButterflyError('CONNECTION_CLOSED', 'The next stage closed its link.'));
      },
    },
  });
  const cancelDeadline = systemClock.after(deadlines.handshakeMs * 2, () => {
    connection.destroy(
      new ButterflyError(
        'TIMEOUT',
        `The next stage at ${next.host}:${next.port} did not take the link in time.`,
      ),
    );
  });
  connection.send(encodeControl({ kind: 'link', linkToken, epoch, fromStage }));
  try {
    await linked;
  } finally {
    cancelDeadline();
  }
  return connection;
}
