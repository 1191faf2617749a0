import type { Clock, Logger } from '@butterfly/common';

/** What happened in a simulation, in order, and what must not have happened. */
export class Journal {
  readonly lines: string[] = [];
  readonly violations: string[] = [];

  constructor(private readonly clock: Pick<Clock, 'nowMs'>) {}

  note(who: string, what: string): void {
    this.lines.push(`${this.clock.nowMs().toFixed(3)} ${who}: ${what}`);
  }

  violate(who: string, what: string): void {
    this.note(who, `VIOLATION ${what}`);
    this.violations.push(`${who}: ${what}`);
  }

  /** A logger whose lines are a part of what happened. */
  logger(who: string): Logger {
    const write = (fields: object, message: string): void =>
      this.note(who, `${message} ${JSON.stringify(fields)}`);
    return { debug: () => undefined, info: write, warn: write, error: write };
  }
}
