import type { Sequence } from './scheduler-sequence.js';

/** What a step gives; none gives both, since what follows the last layer is another. */
export type StepKind = 'tokens' | 'embeddings';

export function kindOf({ pooling }: Sequence): StepKind {
  return pooling === null ? 'tokens' : 'embeddings';
}

/** Who awaits a step: a part of `Roster`. */
interface Awaiting {
  readonly ready: ReadonlySet<Sequence>;
  readonly prefilling: ReadonlySet<Sequence>;
  readonly next: Sequence | undefined;
}

/** Lets steps of both kinds take turns where there is something to compute for both. */
export class Turns {
  #last: StepKind = 'embeddings';

  /** The kinds for which there is something to compute, whose turn it is first. */
  order({ ready, prefilling, next }: Awaiting): readonly StepKind[] {
    const kinds = new Set<StepKind>(ready.size > 0 ? ['tokens'] : []);
    for (const sequence of prefilling) kinds.add(kindOf(sequence));
    if (next) kinds.add(kindOf(next));
    return [...kinds].sort((a, b) => Number(a === this.#last) - Number(b === this.#last));
  }

  /** A step of this kind was made. */
  took(kind: StepKind): void {
    this.#last = kind;
  }
}
