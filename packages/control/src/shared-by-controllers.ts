import { Losses } from './losses.js';
import type { Member } from './members.js';

/** Where epochs get their numbers. */
export class EpochNumbers {
  #last = 0;

  next(): number {
    this.#last += 1;
    return this.#last;
  }
}

/** What the controllers of all replicas of a model know together. */
export class SharedByControllers {
  readonly losses = new Losses();

  /**
   * @param epochs of all models of a cluster
   * @param room what is left of the memory of a member for this model; by default all that it offers
   */
  constructor(
    private readonly epochs = new EpochNumbers(),
    readonly room: (member: Member) => Member = (member) => member,
  ) {}

  /** Never that of another replica or model, so that a late frame is never mistaken for one of the present. */
  nextEpoch(): number {
    return this.epochs.next();
  }
}
