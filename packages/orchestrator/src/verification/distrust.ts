import { ButterflyError, type Clock, type Observer } from '@butterfly/common';
import type { SharedByControllers } from '@butterfly/control';
import { identityOf } from '../fleet/fleet-worker.js';
import { Suspicions } from './suspicions.js';
import type { Disagreement } from './verification.js';

/** Who is left out for numbers that another worker contradicted, and what people are told of that. */
export class Distrust {
  readonly #suspicions = new Suspicions();

  constructor(
    private readonly losses: SharedByControllers['losses'],
    private readonly clock: Clock,
    private readonly observe: Observer,
  ) {}

  /** Of those that are left out now. */
  get notes(): string[] {
    const nowMs = this.clock.nowMs();
    return this.#suspicions.accused.flatMap(({ identity, words }) =>
      this.losses.isBarred(identity, nowMs) ? [words] : [],
    );
  }

  /** Takes an accusation in, and gives why its worker is left out. */
  add({ worker, verifier, layers: [first, last], words }: Disagreement): ButterflyError {
    const [name, verifierName] = [worker.identity.name, verifier.identity.name];
    const { readmitted } = this.#suspicions.accuse(
      identityOf(worker),
      identityOf(verifier),
      `${name} is left out: its numbers of layers ${first} to ${last} are other than those of ${verifierName} (${words}); so is ${verifierName} where the others can hold the model without it, since nobody knows which of them is right.`,
    );
    for (const each of readmitted) this.losses.readmit(each);
    this.observe({
      kind: 'numbersApart',
      workerId: worker.workerId,
      name,
      verifierId: verifier.workerId,
      verifierName,
      layers: [first, last],
      words,
    });
    return new ButterflyError(
      'COMPUTE_FAILED',
      `${name} computed other numbers than ${verifierName} (${words}); test memory and device of both, and restart the server to let them in again.`,
    );
  }
}
