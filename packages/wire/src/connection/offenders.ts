import { deadlines, limits } from '@butterfly/common';

/** Somebody who broke the protocol of late. */
export interface Offender {
  /** How often, as far as that is not forgotten. */
  readonly offences: number;
  /** What was wrong the last time. */
  readonly what: string;
  /** Until when they are kept out. */
  readonly untilMs: number;
}

/** By whatever tells one from another; the same value for ever. */
export type Offenders = ReadonlyMap<string, Offender>;

/** Somebody broke the protocol. */
export interface Offence {
  readonly who: string;
  readonly what: string;
}

/** From one time to the next. */
const growth = 4;
/** Reasons may repeat what a peer sent. */
const whatCharactersMax = 256;

/**
 * The state after an offence. The first one costs a second, so that a link that was damaged once is soon made again; each further
 * one four times as long, up to five minutes. What others of the same name do while that lasts is no offence of its own, since
 * they were there before. All is forgotten ten minutes after the pause, and of more than there is memory for, who were let in
 * again longest ago.
 */
export function afterOffence(before: Offenders, { who, what }: Offence, nowMs: number): Offenders {
  const known = before.get(who);
  if (known && known.untilMs > nowMs) return before;
  const after = new Map([...before].filter(([, offender]) => isRemembered(offender, nowMs)));
  const offences = (after.get(who)?.offences ?? 0) + 1;
  after.delete(who);
  if (after.size >= limits.offendersMax) after.delete(firstLetIn(after));
  const untilMs = nowMs + pauseAfter(offences);
  return after.set(who, { offences, what: what.slice(0, whatCharactersMax), untilMs });
}

/** Null for whoever is not kept out. */
export function keptOut(offenders: Offenders, who: string, nowMs: number): Offender | null {
  const offender = offenders.get(who);
  return offender && offender.untilMs > nowMs ? offender : null;
}

function pauseAfter(offences: number): number {
  return Math.min(deadlines.keptOutMinMs * growth ** (offences - 1), deadlines.keptOutMaxMs);
}

function isRemembered({ untilMs }: Offender, nowMs: number): boolean {
  return untilMs + deadlines.offencesForgottenMs > nowMs;
}

function firstLetIn(offenders: Offenders): string {
  let [first, firstMs] = ['', Infinity];
  for (const [who, { untilMs }] of offenders) if (untilMs < firstMs) [first, firstMs] = [who, untilMs];
  return first;
}
