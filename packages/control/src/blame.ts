import type { Plan } from '@butterfly/planning';
import type { Member, Members } from './members.js';

/** How long a worker is left out that fails at its work, or may have. */
const pauseMs = 30_000;

/** How long two are left out whose numbers contradict each other: until somebody has looked at them. */
const distrustMs = 24 * 3_600_000;

/** Who is left out of the next plans for what went wrong. */
export class Blame {
  /** Epochs in a row that a stalled step ended. */
  #stalls = 0;

  constructor(private readonly members: Members) {}

  /** It could not do what a plan asked of it. */
  failed(member: Member, nowMs: number): void {
    this.members.lost(member, nowMs);
    this.hindered(member, nowMs);
  }

  /** It could not, or not in time, and nobody was held up. */
  hindered({ identity }: Member, nowMs: number): void {
    this.members.leaveOut(identity, pauseMs, nowMs);
  }

  /**
   * Its numbers went into answers, and the other's contradict them. Nobody knows who is right, so both are left out; but the
   * other one takes part where the model cannot be held without it.
   */
  distrusted({ identity }: Member, verifier: Member | undefined, nowMs: number): void {
    this.members.leaveOut(identity, distrustMs, nowMs);
    if (verifier) this.members.pause(verifier.identity, distrustMs, nowMs);
  }

  /** Nobody knows why a step did not come through: from the second time on one stage after the other is left out. */
  stalled({ stages }: Plan, nowMs: number): void {
    this.#stalls += 1;
    const suspect = this.members.get(stages[(this.#stalls - 2) % stages.length]?.workerId ?? '');
    if (this.#stalls > 1 && stages.length > 1 && suspect) this.hindered(suspect, nowMs);
  }

  /** A step came through. */
  moved(): void {
    this.#stalls = 0;
  }
}
