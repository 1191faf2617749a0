import { limits } from '@butterfly/common';
import { failure } from './errors.js';
import { formatPercent } from './percent.js';
import { calculate } from './numbers.js';
import { Text } from './text.js';
import {
  compare,
  Dict,
  isEqual,
  iterate,
  list,
  Missing,
  numberOf,
  Sequence,
  tuple,
  typeName,
  type Value,
} from './values.js';

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type ComparisonOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

/** @throws TemplateFailure where Python raises */
export function binary(operator: BinaryOperator, left: Value, right: Value): Value {
  for (const side of [left, right])
    if (side instanceof Missing && !(operator === '%' && left instanceof Text))
      throw failure(`UndefinedError: ${side.message}`);
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a !== null && b !== null) return calculate(operator, a, b);
  if (operator === '+') return added(left, right);
  if (operator === '%' && left instanceof Text) return formatPercent(left, right);
  if (operator === '*') {
    if (typeof b === 'bigint') return repeated(left, b);
    if (typeof a === 'bigint') return repeated(right, a);
  }
  throw unsupportedOperands(operator, left, right);
}

const unsupportedOperands = (operator: string, left: Value, right: Value): Error =>
  failure(
    `TypeError: unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`,
  );

function added(left: Value, right: Value): Value {
  if (left instanceof Text && right instanceof Text) return Text.concat([left, right]);
  if (left instanceof Sequence && right instanceof Sequence && left.kind === right.kind) {
    if (left.kind === 'list') return list([...left.items, ...right.items]);
    if (left.kind === 'tuple') return tuple([...left.items, ...right.items]);
  }
  if (left instanceof Text)
    throw failure(`TypeError: can only concatenate str (not "${typeName(right)}") to str`);
  throw unsupportedOperands('+', left, right);
}

function repeated(value: Value, times: bigint): Value {
  const count = times < 0n ? 0 : Number(times);
  if (value instanceof Text) {
    checkRepeat(value.value.length * count);
    return value.scramble(value.value.repeat(count));
  }
  if (value instanceof Sequence && (value.kind === 'list' || value.kind === 'tuple')) {
    checkRepeat(value.items.length * count);
    return new Sequence(value.kind, Array.from({ length: count }, () => value.items).flat());
  }
  throw failure(`TypeError: can't multiply sequence by non-int of type '${typeName(value)}'`);
}

function checkRepeat(size: number): void {
  if (size > limits.templateCharactersMax) throw failure('OverflowError: a repeated value is too long');
}

export function isInside(item: Value, container: Value): boolean {
  if (container instanceof Text) {
    if (item instanceof Text) return container.value.includes(item.value);
    throw failure(`TypeError: 'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (container instanceof Dict) return container.get(item) !== undefined;
  if (container === null || numberOf(container) !== null)
    throw failure(`TypeError: argument of type '${typeName(container)}' is not iterable`);
  return iterate(container).some((each) => isEqual(each, item));
}

export function compareBy(operator: ComparisonOperator, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return isEqual(left, right);
    case '!=':
      return !isEqual(left, right);
    case '<':
      return compare(left, right, operator) < 0;
    case '<=':
      return compare(left, right, operator) <= 0;
    case '>':
      return compare(left, right, operator) > 0;
    case '>=':
      return compare(left, right, operator) >= 0;
    case 'in':
      return isInside(left, right);
    case 'not in':
      return !isInside(left, right);
    default:
      return operator satisfies never;
  }
}
