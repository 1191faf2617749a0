import type { ByteRange } from './character-set.js';

/** Where a state goes with the bytes of a range, which have none in common with those of other ranges. */
export interface Edge {
  readonly range: ByteRange;
  readonly to: number;
}

/** One state of a deterministic automaton over bytes; the first one is where it begins. */
export interface State {
  readonly edges: readonly Edge[];
  /** Whether a text may end here. */
  readonly isEnd: boolean;
}

/**
 * Puts states together that nothing tells apart; classes are numbered by their first states. Hopcroft's algorithm: n states
 * with k kinds of bytes take in the order of k n log n, where going through all of them until nothing changes took a long
 * chain of optional characters n² (Hopcroft, An n log n algorithm for minimizing states in a finite automaton, 1971).
 */
export function smallest(states: readonly State[]): readonly State[] {
  const edges = states.map((state) => state.edges);
  const classOf = classesOf(states, inverse(edges));
  const merged: State[] = [];
  const numbers = new Map<number, number>();
  const numberOf = (state: number): number => {
    const found = classOf[state] ?? 0;
    const number = numbers.get(found) ?? numbers.size;
    numbers.set(found, number);
    return number;
  };
  for (const state of states.keys()) numberOf(state);
  for (const [state, own] of edges.entries())
    merged[numberOf(state)] ??= {
      isEnd: states[state]?.isEnd === true,
      edges: joined(own.map(({ range, to }) => ({ range, to: numberOf(to) }))),
    };
  return merged;
}

/** For each kind of bytes that no range tells apart, and each state: which states go to it with those. */
type Inverse = readonly ReadonlyMap<number, readonly number[]>[];

function inverse(edges: readonly State['edges'][]): Inverse {
  const starts = new Set<number>();
  for (const own of edges)
    for (const {
      range: [first, last],
    } of own)
      starts.add(first).add(last + 1);
  const kinds = [...starts].sort((a, b) => a - b);
  const kindAt = new Map(kinds.map((start, kind) => [start, kind]));
  const all = kinds.map(() => new Map<number, number[]>());
  for (const [from, own] of edges.entries())
    for (const {
      range: [first, last],
      to,
    } of own)
      for (let kind = kindAt.get(first) ?? 0; kind < (kindAt.get(last + 1) ?? 0); kind++) {
        const sources = all[kind]?.get(to);
        if (sources) sources.push(from);
        else all[kind]?.set(to, [from]);
      }
  return all;
}

/** The class of each state: those of one class are alike. */
function classesOf(states: readonly State[], sourcesOf: Inverse): number[] {
  const ends = new Set<number>();
  const others = new Set<number>();
  for (const [state, { isEnd }] of states.entries()) (isEnd ? ends : others).add(state);
  const classes = [ends, others];
  const classOf = states.map(({ isEnd }) => (isEnd ? 0 : 1));
  // Both, since not every state goes somewhere with every byte.
  const waiting = new Set([0, 1]);
  for (const splitter of waiting) {
    waiting.delete(splitter);
    // As it is now: it may be split by itself.
    const targets = [...(classes[splitter] ?? [])];
    for (const sources of sourcesOf) split(classes, classOf, waiting, sourcesInto(sources, targets, classOf));
  }
  return classOf;
}

/** The states that go to one of these, by their classes. */
function sourcesInto(
  sources: ReadonlyMap<number, readonly number[]>,
  targets: readonly number[],
  classOf: readonly number[],
): Map<number, number[]> {
  const byClass = new Map<number, number[]>();
  for (const target of targets)
    for (const source of sources.get(target) ?? []) {
      const found = classOf[source] ?? 0;
      const known = byClass.get(found);
      if (known) known.push(source);
      else byClass.set(found, [source]);
    }
  return byClass;
}

/** Takes these out of their classes, where others stay behind in them. */
function split(
  classes: Set<number>[],
  classOf: number[],
  waiting: Set<number>,
  byClass: ReadonlyMap<number, readonly number[]>,
): void {
  for (const [old, moving] of byClass) {
    const whole = classes[old];
    if (!whole || moving.length === whole.size) continue;
    const made = classes.push(new Set(moving)) - 1;
    for (const state of moving) {
      whole.delete(state);
      classOf[state] = made;
    }
    // The smaller half is enough where the whole was looked at before.
    waiting.add(waiting.has(old) || moving.length <= whole.size ? made : old);
  }
}

/** Edges to the same state, of bytes that follow each other, as one. */
function joined(edges: State['edges']): State['edges'] {
  const all: { readonly range: ByteRange; readonly to: number }[] = [];
  for (const edge of edges) {
    const before = all.at(-1);
    if (before?.to === edge.to && before.range[1] + 1 === edge.range[0])
      all[all.length - 1] = { range: [before.range[0], edge.range[1]], to: edge.to };
    else all.push(edge);
  }
  return all;
}
