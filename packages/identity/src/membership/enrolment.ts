import {
  type Address,
  ButterflyError,
  type Clock,
  deadlines,
  formatAddress,
  toButterflyError,
} from '@butterfly/common';
import { type ControlMessageOf, type Frame, decodeControl, encodeControl } from '@butterfly/wire';
import { dialAsStranger } from '../tls/authority-of.js';

interface EnrolmentOptions {
  readonly orchestrator: Address;
  /** PEM. */
  readonly authority: string;
  readonly enrol: ControlMessageOf<'enrol'>;
  readonly clock: Clock;
}

/**
 * Asks the orchestrator of this authority for a certificate, over a link that proves it to be that one.
 * @throws ButterflyError PEER_UNREACHABLE, PEER_UNTRUSTED, JOIN_REFUSED, TIMEOUT, CONNECTION_CLOSED, PROTOCOL_INVALID
 */
export async function enrolAt({
  orchestrator,
  authority,
  enrol,
  clock,
}: EnrolmentOptions): Promise<ControlMessageOf<'enrolled'>> {
  let settle: (answer: ControlMessageOf<'enrolled'> | ButterflyError) => void = () => undefined;
  const answered = new Promise<ControlMessageOf<'enrolled'>>((resolve, reject) => {
    settle = (answer) => {
      if (answer instanceof ButterflyError) reject(answer);
      else resolve(answer);
    };
  });
  // It may fail before anybody waits for it.
  answered.catch(() => undefined);
  const connection = await dialAsStranger(authority, {
    ...orchestrator,
    clock,
    handlers: {
      onFrame: (frame) => settle(expectEnrolled(frame)),
      onClose: (error, reason) => settle(error ?? new ButterflyError('CONNECTION_CLOSED', reason)),
    },
  });
  const cancelDeadline = clock.after(deadlines.handshakeMs, () =>
    settle(
      new ButterflyError(
        'TIMEOUT',
        `${formatAddress(orchestrator)} gave no certificate within ${deadlines.handshakeMs} ms; check its load.`,
      ),
    ),
  );
  connection.send(encodeControl(enrol));
  try {
    return await answered;
  } finally {
    cancelDeadline();
    void connection.close('enrolled');
  }
}

function expectEnrolled(frame: Frame): ControlMessageOf<'enrolled'> | ButterflyError {
  try {
    const message = decodeControl(frame);
    if (message.kind === 'enrolled') return message;
    return new ButterflyError('PROTOCOL_INVALID', `An orchestrator does not answer with "${message.kind}".`);
  } catch (thrown) {
    return toButterflyError(thrown);
  }
}
