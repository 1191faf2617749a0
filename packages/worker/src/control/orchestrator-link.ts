import { ButterflyError, type Clock, deadlines } from '@butterfly/common';
import {
  type Connection,
  type ControlMessageOf,
  type Frame,
  type ReceivedFrame,
  type Transport,
  decodeControl,
  encodeControl,
} from '@butterfly/wire';

export interface OrchestratorLinkOptions {
  readonly host: string;
  readonly port: number;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly hello: ControlMessageOf<'hello'>;
  /** Says goodbye when aborted, whether welcomed yet or not. */
  readonly signal: AbortSignal;
  /** Gives who takes all frames that follow. What it throws is told to the orchestrator and ends the link. */
  readonly onWelcome: (
    welcome: ControlMessageOf<'welcome'>,
    connection: Connection,
  ) => (frame: ReceivedFrame) => void;
}

/** A connection to an orchestrator that welcomed this worker. */
export interface OrchestratorLink {
  /** Resolves when it is closed, with null after an orderly goodbye of either side. */
  readonly closed: Promise<ButterflyError | null>;
}

/**
 * Dials the orchestrator and is welcomed.
 * @throws ButterflyError PEER_UNREACHABLE, PEER_UNTRUSTED, JOIN_REFUSED, PROTOCOL_VERSION, TIMEOUT, CONNECTION_CLOSED, and what
 * `onWelcome` throws
 */
export async function joinOrchestrator(options: OrchestratorLinkOptions): Promise<OrchestratorLink> {
  const { host, port, transport, clock, hello, signal } = options;
  let receive: ((frame: ReceivedFrame) => void) | null = null;
  let settle: (error: ButterflyError | null) => void = () => undefined;
  const welcomed = new Promise<void>((resolve, reject) => {
    settle = (error) => {
      if (error) reject(error);
      else resolve();
    };
  });
  // It may fail before anybody waits for it.
  welcomed.catch(() => undefined);
  let tellClosed: (error: ButterflyError | null) => void = () => undefined;
  const closed = new Promise<ButterflyError | null>((resolve) => (tellClosed = resolve));
  const connection = await transport.dial({
    host,
    port,
    peer: { role: 'orchestrator' },
    clock,
    handlers: {
      onFrame: (frame, from) => {
        if (receive) {
          receive(frame);
          return;
        }
        receive = options.onWelcome(expectWelcome(frame), from);
        settle(null);
      },
      onClose: (error, reason) => {
        settle(
          error ?? new ButterflyError('JOIN_REFUSED', `The orchestrator closed the connection: ${reason}`),
        );
        signal.removeEventListener('abort', leave);
        tellClosed(error);
      },
    },
  });
  const leave = (): void => void connection.close('the worker stops');
  signal.addEventListener('abort', leave);
  if (signal.aborted) leave();
  const cancelDeadline = clock.after(deadlines.handshakeMs, () => {
    const message = `${host}:${port} did not answer like an orchestrator; check the address and port.`;
    connection.destroy(new ButterflyError('TIMEOUT', message));
  });
  connection.send(encodeControl(hello));
  try {
    await welcomed;
  } finally {
    cancelDeadline();
  }
  return { closed };
}

function expectWelcome(frame: Frame): ControlMessageOf<'welcome'> {
  const message = decodeControl(frame);
  if (message.kind !== 'welcome')
    throw new ButterflyError('PROTOCOL_INVALID', `An orchestrator does not greet with "${message.kind}".`);
  return message;
}
