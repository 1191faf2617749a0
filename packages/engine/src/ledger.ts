import { EndRate } from './end-rate.js';
import { MeasuredSpeed } from './measured-speed.js';

/** What engines have in common between which requests move: ids that fit everywhere, and what clients see of all. */
export class EngineLedger {
  readonly speed = new MeasuredSpeed();
  readonly ends: EndRate;
  #lastId = 0;

  constructor(nowMs: number) {
    this.ends = new EndRate(nowMs);
  }

  /** One more than the last one. */
  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }
}
