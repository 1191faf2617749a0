import { automatonOf, TooManyStates } from './automaton.js';
import type { Path } from './constraint.js';
import {
  bytesClass,
  choice,
  literal,
  nothing,
  sequence,
  type Expression,
  type RuleBook,
} from './grammar-text.js';
import type { Pattern } from './pattern.js';
import { invalid, unsupported } from './refusals.js';
import type { State } from '../automata/smallest.js';
import type { ByteRange } from '../automata/character-set.js';

/**
 * A pattern as rules, one for each state of its automaton: the library takes alternatives with the same beginning for
 * others than they are, once there are many, and these have none.
 * @throws ButterflyError REQUEST_INVALID for a pattern that nothing matches, REQUEST_UNSUPPORTED for one of too many states
 */
export function patternRules(pattern: Pattern, book: RuleBook, path: Path): Expression {
  const states = statesOf(pattern, path);
  const names = states.map(() => book.reserve());
  for (const [index, name] of names.entries()) book.define(name, ruleOf(states, index, names));
  return names[0] ?? nothing;
}

function statesOf(pattern: Pattern, path: Path): readonly State[] {
  try {
    const states = automatonOf(pattern);
    if (!states.some(({ isEnd }) => isEnd)) throw invalid(path, 'no text matches.');
    return states;
  } catch (error) {
    if (!(error instanceof TooManyStates)) throw error;
    throw unsupported(path, 'takes too many states; repeat less, and fewer alternatives.');
  }
}

/** Where a state can only go on one way, as a text does, the rule says all of it. */
function ruleOf(states: readonly State[], index: number, names: readonly string[]): Expression {
  const state = states[index];
  if (!state) return nothing;
  const ways = new Map<number, ByteRange[]>();
  for (const { range, to } of state.edges) ways.set(to, [...(ways.get(to) ?? []), range]);
  return choice(
    ...(state.isEnd ? [nothing] : []),
    ...[...ways].map(([to, ranges]) => {
      const [said, end] = run(states, ranges, to);
      return sequence(said, isOver(states[end]) ? nothing : (names[end] ?? nothing));
    }),
  );
}

/** A text of ASCII as far as nothing else may come. */
function run(states: readonly State[], ranges: readonly ByteRange[], to: number): [Expression, number] {
  let characters = single(ranges);
  if (characters === null) return [bytesClass(ranges), to];
  let at = to;
  // No further than there are states, since some go round.
  for (const visited = new Set<number>(); !visited.has(at);) {
    visited.add(at);
    const { edges = [], isEnd = true } = states[at] ?? {};
    const [edge] = edges;
    const next = edges.length === 1 && edge && !isEnd ? single([edge.range]) : null;
    if (next === null || !edge) break;
    characters += next;
    at = edge.to;
  }
  return [literal(characters), at];
}

function single(ranges: readonly ByteRange[]): string | null {
  const [range] = ranges;
  const isOne = ranges.length === 1 && range && range[0] === range[1] && range[0] < 0x80;
  return isOne ? String.fromCodePoint(range[0]) : null;
}

function isOver(state: State | undefined): boolean {
  return state?.edges.length === 0;
}
