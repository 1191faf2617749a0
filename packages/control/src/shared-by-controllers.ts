import { Losses } from './losses.js';

/** What the controllers of all replicas know together. */
export class SharedByControllers {
  readonly losses = new Losses();
  #epoch = 0;

  /** Never that of another replica, so that a late frame is never mistaken for one of the present. */
  nextEpoch(): number {
    this.#epoch += 1;
    return this.#epoch;
  }
}
