import { randomBits } from '@butterfly/testkit';

/** What may go wrong. */
export const faultKinds = [
  'kill',
  'killTwo',
  'killThrice',
  'killWhileLoading',
  'pause',
  'cutControl',
  'cutData',
  'crawl',
  'flipBit',
  'diskFull',
  'drain',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** One fault of a schedule; a pure value, the same for the same seed. */
export interface Fault {
  readonly kind: FaultKind;
  /** Since the end of the fault before. */
  readonly afterMs: number;
  /** Until it is mended. */
  readonly lastsMs: number;
  /** Index of the worker that it happens to. */
  readonly worker: number;
  /** Of the other one, where it takes two. */
  readonly other: number;
}

/** Faults drawn by chance, each kind once in random order before any comes again. */
export function* faultsOf(
  seed: number,
  workers: number,
  kinds: readonly FaultKind[] = faultKinds,
): Generator<Fault> {
  const bits = randomBits(`chaos ${seed}`);
  const below = (bound: number): number => (bits() >>> 0) % bound;
  for (;;) {
    const order = [...kinds];
    for (let index = order.length - 1; index > 0; index--) {
      const other = below(index + 1);
      const [a, b] = [order[index], order[other]];
      if (a !== undefined && b !== undefined) [order[index], order[other]] = [b, a];
    }
    for (const kind of order) {
      const worker = below(workers);
      const other = (worker + 1 + below(Math.max(1, workers - 1))) % workers;
      yield { kind, afterMs: 300 + below(1_500), lastsMs: 500 + below(4_000), worker, other };
    }
  }
}
