import { limits } from '@butterfly/common';
import type { Pattern } from './pattern.js';
import { smallest, type Edge, type State } from '../automata/smallest.js';
import type { ByteRange } from '../automata/character-set.js';
import { utf8Ranges } from '../automata/utf8.js';

/** A pattern takes more states than there may be. */
export class TooManyStates extends Error {}

/** States that go on by themselves or by bytes; built backwards, so that each knows what follows. */
class Nondeterministic {
  readonly empty: (readonly number[])[] = [];
  readonly edges: (readonly Edge[])[] = [];

  /** A state that goes by itself to others, with bytes elsewhere. */
  state(empty: readonly number[], edges: readonly Edge[] = []): number {
    if (this.empty.length >= limits.patternStatesMax) throw new TooManyStates();
    this.edges.push(edges);
    return this.empty.push(empty) - 1;
  }

  /** Where to begin, so that a text of the pattern leads to `end`. */
  before(pattern: Pattern, end: number): number {
    switch (pattern.kind) {
      case 'characters':
        return this.state(
          [],
          utf8Ranges(pattern.set).flatMap((places) => {
            let to = end;
            for (const range of places.slice(1).reverse()) to = this.state([], [{ range, to }]);
            return places.slice(0, 1).map((range) => ({ range, to }));
          }),
        );
      case 'sequence':
        return pattern.parts.reduceRight((next, part) => this.before(part, next), end);
      case 'choice':
        return this.state(pattern.options.map((option) => this.before(option, end)));
      case 'repeat':
        return this.#repeat(pattern, end);
      default:
        return pattern satisfies never;
    }
  }

  #repeat({ part, min, max }: Extract<Pattern, { kind: 'repeat' }>, end: number): number {
    let next = end;
    if (max === Infinity) {
      const loop: number[] = [end];
      next = this.state(loop);
      loop.push(this.before(part, next));
    } else for (let extra = min; extra < max; extra++) next = this.state([end, this.before(part, next)]);
    for (let count = 0; count < min; count++) next = this.before(part, next);
    return next;
  }

  /** All states that these go to by themselves, ascending. */
  closure(states: Iterable<number>): number[] {
    const all = new Set(states);
    for (const state of all) for (const next of this.empty[state] ?? []) all.add(next);
    return [...all].sort((a, b) => a - b);
  }
}

/**
 * The smallest deterministic automaton of a pattern that has an end from each of its states.
 * @throws TooManyStates
 */
export function automatonOf(pattern: Pattern): readonly State[] {
  const machine = new Nondeterministic();
  const end = machine.state([]);
  const start = machine.before(pattern, end);
  const states: State[] = [];
  const known = new Map<string, number>();
  const queue: number[][] = [];
  const numberOf = (set: number[]): number => {
    const key = set.join();
    const seen = known.get(key);
    if (seen !== undefined) return seen;
    if (known.size >= limits.automatonStatesMax) throw new TooManyStates();
    known.set(key, known.size);
    queue.push(set);
    return known.size - 1;
  };
  numberOf(machine.closure([start]));
  let work = 0;
  for (const set of queue) {
    const all = set.flatMap((state) => machine.edges[state] ?? []);
    work += set.length + all.length;
    if (work > limits.automatonWorkMax) throw new TooManyStates();
    const edges = disjoint(all);
    states.push({
      edges: edges.map(({ range, targets }) => ({ range, to: numberOf(machine.closure(targets)) })),
      isEnd: set.includes(end),
    });
  }
  return smallest(states);
}

/** Ranges without a byte in common, each with all that its bytes lead to. */
function disjoint(edges: readonly Edge[]): { range: ByteRange; targets: number[] }[] {
  const targetsOf = new Map<number, Set<number>>();
  const distinct = new Map(edges.map((edge) => [`${edge.range.join('-')}>${edge.to}`, edge]));
  for (const { range, to } of distinct.values())
    for (let byte = range[0]; byte <= range[1]; byte++) {
      const targets = targetsOf.get(byte) ?? new Set();
      targetsOf.set(byte, targets.add(to));
    }
  const all: { range: [number, number]; targets: number[]; key: string }[] = [];
  for (const byte of [...targetsOf.keys()].sort((a, b) => a - b)) {
    const targets = [...(targetsOf.get(byte) ?? [])].sort((a, b) => a - b);
    const key = targets.join();
    const before = all.at(-1);
    if (before?.key === key && before.range[1] + 1 === byte) before.range[1] = byte;
    else all.push({ range: [byte, byte], targets, key });
  }
  return all;
}
