import { EndRate } from './end-rate.js';
import { MeasuredSpeed } from './measured-speed.js';
import { TenantShares } from './queue/tenant-shares.js';

/** What engines have in common between which requests move: ids that fit everywhere, and what clients see of all. */
export class EngineLedger {
  readonly speed = new MeasuredSpeed();
  readonly ends: EndRate;
  /** What each tenant was given, wherever that was. */
  readonly shares = new TenantShares();
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
