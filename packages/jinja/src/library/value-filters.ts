import {
  Dict,
  Given,
  Missing,
  Stream,
  Text,
  type Value,
  attributeOf,
  failure,
  isTrue,
  lengthOf,
  numberOf,
  parseFloating,
  parseWhole,
  print,
  roundHalfEven,
  tuple,
  typeName,
} from '@butterfly/python';
import { filter, type Filter } from './filter-types.js';

function wholeOf(value: Value, given: Given): Value {
  if (value instanceof Missing) throw failure(`UndefinedError: ${value.message}`);
  const fallback = given.or('default', 0n);
  if (value instanceof Text) {
    const trimmed = value.value.trim();
    const whole = parseWhole(trimmed, given.whole('base', 10));
    if (whole !== null) return whole;
    return truncated(parseFloating(trimmed), fallback);
  }
  const number = numberOf(value);
  return typeof number === 'bigint' ? number : truncated(number, fallback);
}

function truncated(number: number | null, fallback: Value): Value {
  if (number === null || Number.isNaN(number)) return fallback;
  if (!Number.isFinite(number)) throw failure('OverflowError: cannot convert float infinity to integer');
  return BigInt(Math.trunc(number));
}

function floatOf(value: Value, given: Given): Value {
  if (value instanceof Missing) throw failure(`UndefinedError: ${value.message}`);
  const number = value instanceof Text ? parseFloating(value.value.trim()) : numberOf(value);
  return number === null ? given.or('default', 0) : Number(number);
}

function rounded(value: Value, given: Given): Value {
  const number = numberOf(value);
  if (number === null) throw failure(`TypeError: type ${typeName(value)} doesn't define __round__ method`);
  const digits = given.whole('precision', 0);
  const method = given.text('method', 'common').value;
  if (method === 'common') {
    if (typeof number === 'number') return roundHalfEven(number, digits);
    return digits >= 0 ? number : BigInt(roundHalfEven(Number(number), digits));
  }
  if (method !== 'ceil' && method !== 'floor')
    throw failure('FilterArgumentError: method must be common, ceil or floor');
  const scale = 10 ** digits;
  return Math[method](Number(number) * scale) / scale;
}

function absolute(value: Value): Value {
  const number = numberOf(value);
  if (number === null) throw failure(`TypeError: bad operand type for abs(): '${typeName(value)}'`);
  return typeof number === 'bigint' ? (number < 0n ? -number : number) : Math.abs(number);
}

const defaulted = (value: Value, given: Given): Value =>
  value instanceof Missing || (given.flag('boolean') && !isTrue(value))
    ? given.or('default_value', Text.empty)
    : value;

const counted = (value: Value): Value => BigInt(lengthOf(value));

function itemsOf(value: Value): Value {
  if (value instanceof Missing) return new Stream([]);
  if (value instanceof Dict) return new Stream(value.entries().map((entry) => tuple(entry)));
  throw failure('TypeError: Can only get item pairs from a mapping.');
}

/** Filters of jinja2 on single values (jinja2/filters.py). */
export const valueFilters: readonly (readonly [string, Filter])[] = [
  ['default', filter('default', ['default_value', 'boolean'], defaulted)],
  ['d', filter('d', ['default_value', 'boolean'], defaulted)],
  ['int', filter('int', ['default', 'base'], wholeOf)],
  ['float', filter('float', ['default'], floatOf)],
  ['round', filter('round', ['precision', 'method'], rounded)],
  ['abs', filter('abs', [], absolute)],
  ['length', filter('length', [], counted)],
  ['count', filter('count', [], counted)],
  ['items', filter('items', [], itemsOf)],
  [
    'attr',
    filter('attr', ['name'], (value, given) => {
      const name = print(given.value('name')).value;
      if (value instanceof Dict && value.get(Text.own(name)) !== undefined)
        return new Missing(`'dict object' has no attribute '${name}'`);
      return attributeOf(value, name);
    }),
  ],
];
