import { addressBlock, ButterflyError, type Clock } from '@butterfly/common';
import { Connection } from './connection.js';
import { afterOffence, keptOut, type Offender, type Offenders } from './offenders.js';
import type { IncomingStream } from './transport.js';

/** Who is at the other end: a member, as its certificate proves, or else whoever has that address or says that name. */
export interface Caller {
  readonly isProven: boolean;
  readonly name: string;
}

/** What came of an offence. */
export interface Exclusion {
  /** What is told to who broke the protocol: what was wrong, and for how long they are kept out. */
  readonly told: ButterflyError;
  readonly offences: number;
  readonly keptOutMs: number;
}

/** As whom somebody counts who just came in. */
export function callerOf({ identity, remoteAddress = '' }: IncomingStream): Caller {
  return identity
    ? { isProven: true, name: identity.id }
    : { isProven: false, name: addressBlock(remoteAddress) };
}

/** Who is turned away has nothing to say. */
const deaf = { onFrame: () => undefined, onClose: () => undefined };

/** Tells somebody why they are not let in, without reading anything of them. */
export function turnAway(stream: IncomingStream, refusal: ButterflyError, clock: Clock): void {
  new Connection(stream, { clock, isStranger: true, handlers: deaf }).fail(refusal);
}

/**
 * Remembers who broke the protocol, and for how long each is not let in. Those who proved who they are have a memory of their
 * own: neither do strangers fill it, nor does it matter what these did at the same address.
 */
export class Doorkeeper {
  #members: Offenders = new Map();
  #others: Offenders = new Map();

  constructor(private readonly clock: Clock) {}

  /** Somebody did, with this error. */
  broke(caller: Caller, { message, code }: ButterflyError): Exclusion {
    const offence = { who: caller.name, what: message };
    const nowMs = this.clock.nowMs();
    if (caller.isProven) this.#members = afterOffence(this.#members, offence, nowMs);
    else this.#others = afterOffence(this.#others, offence, nowMs);
    const offender = this.#offender(caller);
    const keptOutMs = offender ? leftMs(offender, nowMs) : 0;
    const told = new ButterflyError(code, `${message} You are not let in for ${seconds(keptOutMs)}.`, {
      retryAfterMs: keptOutMs,
    });
    return { told, offences: offender?.offences ?? 0, keptOutMs };
  }

  /** KEPT_OUT with what was wrong and how long it takes; null for whoever may come in. */
  refusal(caller: Caller): ButterflyError | null {
    const offender = this.#offender(caller);
    if (!offender) return null;
    const retryAfterMs = leftMs(offender, this.clock.nowMs());
    const whose = caller.isProven ? 'This worker' : 'Somebody at this address';
    return new ButterflyError(
      'KEPT_OUT',
      `${whose} broke the protocol and is not let in for ${seconds(retryAfterMs)}: ${offender.what}`,
      { retryAfterMs },
    );
  }

  #offender({ isProven, name }: Caller): Offender | null {
    return keptOut(isProven ? this.#members : this.#others, name, this.clock.nowMs());
  }
}

function leftMs({ untilMs }: Offender, nowMs: number): number {
  return Math.max(1, Math.round(untilMs - nowMs));
}

function seconds(durationMs: number): string {
  return `${Math.ceil(durationMs / 1_000)} s`;
}
