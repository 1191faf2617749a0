import {
  Callable,
  Dict,
  LoopValue,
  Missing,
  Sequence,
  Stream,
  Text,
  type Value,
  calculate,
  compareBy,
  failure,
  isEqual,
  isInside,
  isLower,
  isUpper,
  numberOf,
  print,
  typeName,
} from '@butterfly/python';

type Test = (value: Value, ...args: readonly Value[]) => boolean;

const ordered =
  (operator: '<' | '<=' | '>' | '>='): Test =>
  (value, other = null) =>
    compareBy(operator, value, other);
const equal: Test = (value, other = null) => isEqual(value, other);
const unequal: Test = (value, other = null) => !isEqual(value, other);

function remainder(value: Value, by: Value): bigint | number {
  const [a, b] = [numberOf(value), numberOf(by)];
  if (a === null || b === null)
    throw failure(
      value instanceof Missing
        ? `UndefinedError: ${value.message}`
        : `TypeError: unsupported operand type(s) for %: '${typeName(value)}' and '${typeName(by)}'`,
    );
  return calculate('%', a, b);
}

function isSame(value: Value, other: Value): boolean {
  if (value instanceof Text && other instanceof Text) return value.value === other.value;
  return value === other;
}

/** Tests of jinja2 (jinja2/tests.py), but for those on names of filters and tests, which the evaluator has. */
export const tests: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['odd', (value) => isEqual(remainder(value, 2n), 1n)],
  ['even', (value) => isEqual(remainder(value, 2n), 0n)],
  ['divisibleby', (value, by = null) => isEqual(remainder(value, by), 0n)],
  ['defined', (value) => !(value instanceof Missing)],
  ['undefined', (value) => value instanceof Missing],
  ['none', (value) => value === null],
  ['boolean', (value) => typeof value === 'boolean'],
  ['false', (value) => value === false],
  ['true', (value) => value === true],
  ['integer', (value) => typeof value === 'bigint'],
  ['float', (value) => typeof value === 'number'],
  ['number', (value) => numberOf(value) !== null],
  ['string', (value) => value instanceof Text],
  ['mapping', (value) => value instanceof Dict],
  ['lower', (value) => isLower(print(value).value)],
  ['upper', (value) => isUpper(print(value).value)],
  [
    'sequence',
    (value) =>
      value instanceof Text ||
      value instanceof Dict ||
      value instanceof Missing ||
      (value instanceof Sequence && !value.kind.startsWith('dict_')),
  ],
  [
    'iterable',
    (value) =>
      value instanceof Text ||
      value instanceof Dict ||
      value instanceof Missing ||
      value instanceof Sequence ||
      value instanceof Stream ||
      value instanceof LoopValue,
  ],
  [
    'callable',
    (value) => value instanceof Callable || value instanceof Missing || value instanceof LoopValue,
  ],
  ['sameas', (value, other = null) => isSame(value, other)],
  ['escaped', () => false],
  ['in', (value, container = null) => isInside(value, container)],
  ['==', equal],
  ['eq', equal],
  ['equalto', equal],
  ['!=', unequal],
  ['ne', unequal],
  ['>', ordered('>')],
  ['gt', ordered('>')],
  ['greaterthan', ordered('>')],
  ['ge', ordered('>=')],
  ['>=', ordered('>=')],
  ['<', ordered('<')],
  ['lt', ordered('<')],
  ['lessthan', ordered('<')],
  ['<=', ordered('<=')],
  ['le', ordered('<=')],
]);
