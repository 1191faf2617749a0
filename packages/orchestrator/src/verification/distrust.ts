import { ButterflyError, type Observer } from '@butterfly/common';
import type { SharedByControllers } from '@butterfly/control';
import { identityOf } from '../fleet/fleet-worker.js';
import { Suspicions } from './suspicions.js';
import type { Disagreement } from './verification.js';

/** Who is left out for numbers that another worker contradicted, and what people are told of that. */
export class Distrust {
  readonly #suspicions = new Suspicions();
  /** By identity; what is to be known while it is left out. */
  readonly #notes = new Map<string, string>();

  constructor(
    private readonly losses: SharedByControllers['losses'],
    private readonly observe: Observer,
  ) {}

  get notes(): string[] {
    for (const identity of this.#notes.keys())
      if (!this.#suspicions.isAccused(identity)) this.#notes.delete(identity);
    return [...this.#notes.values()];
  }

  /** Takes an accusation in, and gives why its worker is left out. */
  add({ worker, verifier, layers: [first, last], words }: Disagreement): ButterflyError {
    const [name, verifierName] = [worker.identity.name, verifier.identity.name];
    const identity = identityOf(worker);
    const { readmitted } = this.#suspicions.accuse(identity, identityOf(verifier));
    for (const each of readmitted) this.losses.readmit(each);
    const { workerId } = worker;
    this.observe({
      kind: 'numbersApart',
      workerId,
      name,
      verifierId: verifier.workerId,
      verifierName,
      layers: [first, last],
      words,
    });
    this.#notes.set(
      identity,
      `${name} is left out: its numbers of layers ${first} to ${last} are other than those of ${verifierName} (${words}); so is ${verifierName} where the others can hold the model without it, since nobody knows which of them is right.`,
    );
    return new ButterflyError(
      'COMPUTE_FAILED',
      `${name} computed other numbers than ${verifierName} (${words}); test memory and device of both, and restart the server to let them in again.`,
    );
  }
}
