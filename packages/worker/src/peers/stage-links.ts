import { ButterflyError, type Clock, deadlines, isLinkError, secretsEqual } from '@butterfly/common';
import {
  type Activations,
  type Connection,
  type ControlMessageOf,
  type Frame,
  type Step,
  type StepResult,
  type Transport,
  decodeActivations,
  decodeControl,
  decodeStep,
  decodeStepResult,
  encodeControl,
  memberAt,
} from '@butterfly/wire';

/** Whatever ends a link, a flipped bit or a refusal too, is the loss of that link to those at its ends. */
function lossOfLink(neighbour: string, error: ButterflyError): ButterflyError {
  if (isLinkError(error.code)) return error;
  const message = `The link to ${neighbour} was lost: ${error.message}`;
  return new ButterflyError('CONNECTION_CLOSED', message, { cause: error });
}

/** A neighbour that can be dialled. */
type DirectHop = Extract<ControlMessageOf<'assign'>['next'], { readonly kind: 'direct' }>;

/** The link of an epoch from the stage before, which the last stage is to the first. */
export interface ExpectedLink {
  readonly epoch: number;
  readonly linkToken: string;
  readonly onStep: (step: Step) => void;
  readonly onActivations: (activations: Activations) => void;
  /** Comes to the first stage alone, from the last. */
  readonly onResult: (result: StepResult) => void;
  /** Told with a link error. */
  readonly onLost: (error: ButterflyError) => void;
}

interface Expectation extends ExpectedLink {
  active: Connection | null;
}

/** A dialled link that waits for this worker to learn of its epoch. */
interface Early {
  readonly message: ControlMessageOf<'link'>;
  readonly connection: Connection;
  readonly cancelDeadline: () => void;
}

/** Links waiting for their epoch, each of a worker of this cluster; a worker serves in few epochs at once. */
const earlyMax = 16;

/** The links over which the stages before this worker's send activations: one for each epoch. */
export class IncomingLinks {
  readonly #expected = new Map<number, Expectation>();
  #early: Early[] = [];

  constructor(private readonly clock: Clock) {}

  /** From now on the link of this epoch is welcome, until the returned function is called. */
  expect(link: ExpectedLink): () => void {
    const expectation: Expectation = { ...link, active: null };
    this.#expected.set(link.epoch, expectation);
    for (const early of this.#early.splice(0)) {
      early.cancelDeadline();
      this.greet(early.connection, early.message);
    }
    return () => {
      if (this.#expected.get(link.epoch) === expectation) this.#expected.delete(link.epoch);
      const { active } = expectation;
      expectation.active = null;
      void active?.close('the epoch is over');
    };
  }

  /** Takes the first message of a link of this cluster. Links may come before their epoch does, but not for long. */
  greet(connection: Connection, message: ControlMessageOf<'link'>): void {
    const { epoch } = message;
    const expectation = this.#expected.get(epoch);
    if (expectation && !expectation.active && secretsEqual(expectation.linkToken, message.linkToken)) {
      expectation.active = connection;
      // From now on activations may come.
      connection.trust();
      connection.send(encodeControl({ kind: 'linked', epoch }));
      return;
    }
    const isEarly = [...this.#expected.keys()].every((known) => known < epoch);
    if (!isEarly || this.#early.length >= earlyMax) {
      connection.fail(new ButterflyError('JOIN_REFUSED', `This worker has no stage in epoch ${epoch}.`));
      return;
    }
    const cancelDeadline = this.clock.after(deadlines.handshakeMs, () => {
      this.#early = this.#early.filter((early) => early.connection !== connection);
      connection.fail(new ButterflyError('TIMEOUT', `This worker was given no stage in epoch ${epoch}.`));
    });
    this.#early.push({ message, connection, cancelDeadline });
  }

  /** Takes a frame of a link that was greeted. @throws ButterflyError JOIN_REFUSED for one that proved no epoch */
  receive(connection: Connection, frame: Frame): void {
    const expectation = this.#of(connection);
    if (!expectation)
      throw new ButterflyError('JOIN_REFUSED', 'A step came over a link that proved no epoch.');
    if (frame.type === 'activations') expectation.onActivations(decodeActivations(frame));
    else if (frame.type === 'result') expectation.onResult(decodeStepResult(frame));
    else expectation.onStep(decodeStep(frame));
  }

  /** A connection closed, whatever it was. */
  lost(connection: Connection, error: ButterflyError | null): void {
    this.#early = this.#early.filter((early) => {
      if (early.connection === connection) early.cancelDeadline();
      return early.connection !== connection;
    });
    const expectation = this.#of(connection);
    if (!expectation) return;
    expectation.active = null;
    // A goodbye means that the stage before knows of the end of the epoch already.
    if (error) expectation.onLost(lossOfLink('the stage before', error));
  }

  #of(connection: Connection): Expectation | undefined {
    for (const expectation of this.#expected.values())
      if (expectation.active === connection) return expectation;
    return undefined;
  }
}

/**
 * Dials the next stage and proves the epoch.
 * @throws ButterflyError PEER_UNREACHABLE, TIMEOUT, or CONNECTION_CLOSED with what the next stage answers as its cause.
 */
export async function dialNext(options: {
  readonly next: DirectHop;
  readonly epoch: number;
  readonly peerToken: string;
  readonly linkToken: string;
  readonly fromStage: number;
  readonly transport: Transport;
  readonly clock: Clock;
  /** The link was made, and lost later without a goodbye. Told with a link error. */
  readonly onLost: (error: ButterflyError) => void;
}): Promise<Connection> {
  const { next, epoch, peerToken, linkToken, fromStage, transport, clock, onLost } = options;
  const { host, port } = next;
  let settle: (error: ButterflyError | null) => void = () => undefined;
  const linked = new Promise<void>((resolve, reject) => {
    settle = (error) => {
      if (error) reject(error);
      else resolve();
    };
  });
  let isLinked = false;
  const connection = await transport.dial({
    host,
    port,
    ...memberAt(next),
    clock,
    handlers: {
      onFrame: (frame) => {
        const message = decodeControl(frame);
        if (message.kind !== 'linked' || message.epoch !== epoch)
          throw new ButterflyError('PROTOCOL_INVALID', `The next stage answered "${message.kind}".`);
        isLinked = true;
        settle(null);
      },
      onClose: (error) => {
        const lost = error && lossOfLink('the next stage', error);
        if (isLinked && lost) onLost(lost);
        settle(lost ?? new ButterflyError('CONNECTION_CLOSED', 'The next stage closed its link.'));
      },
    },
  });
  const cancelDeadline = clock.after(deadlines.handshakeMs * 2, () => {
    const message = `The next stage at ${host}:${port} did not take the link in time.`;
    connection.destroy(new ButterflyError('TIMEOUT', message));
  });
  connection.send(encodeControl({ kind: 'link', peerToken, linkToken, epoch, fromStage }));
  try {
    await linked;
  } finally {
    cancelDeadline();
  }
  return connection;
}
