import { failure, unsupported } from './errors.js';
import { print, printFloat, printInside } from './print.js';
import { Text } from './text.js';
import { Dict, numberOf, Sequence, typeName, type Value } from './values.js';

const directive = /%(?:\(([^)]*)\))?([-+ 0#]*)(\d*)(?:\.(\d*))?([a-zA-Z%])?/g;
const widthMax = 10_000;

/** Python's `text % values`. @throws TemplateFailure where Python raises */
export function formatPercent(format: Text, values: Value): Text {
  const items = values instanceof Sequence && values.kind === 'tuple' ? values.items : [values];
  let used = 0;
  let isNamed = false;
  const parts: Text[] = [];
  let at = 0;
  for (const match of format.value.matchAll(directive)) {
    const [whole, name, flags = '', width = '', precision, type] = match;
    parts.push(format.slice(at, match.index));
    at = match.index + whole.length;
    if (type === undefined) throw failure('ValueError: incomplete format');
    if (type === '%') {
      parts.push(Text.own('%'));
      continue;
    }
    let value: Value | undefined;
    if (name === undefined) value = items[used++];
    else {
      isNamed = true;
      if (!(values instanceof Dict)) throw failure('TypeError: format requires a mapping');
      value = values.get(Text.own(name));
    }
    if (value === undefined)
      throw failure(
        name === undefined ? 'TypeError: not enough arguments for format string' : `KeyError: '${name}'`,
      );
    parts.push(padded(converted(type, value, flags, precision), flags, Number(width)));
  }
  parts.push(format.slice(at));
  const isSpare = used < items.length && !isNamed && !(values instanceof Dict);
  if (isSpare && !(values instanceof Sequence && values.kind === 'list'))
    throw failure('TypeError: not all arguments converted during string formatting');
  return Text.concat(parts);
}

function converted(type: string, value: Value, flags: string, precision: string | undefined): Text {
  switch (type) {
    case 's':
    case 'r': {
      const text = type === 's' ? print(value) : printInside(value);
      return precision === undefined ? text : text.slice(0, text.unitOffset(Number(precision)));
    }
    case 'd':
    case 'i':
    case 'u': {
      const number = numberOf(value);
      if (number === null)
        throw failure(`TypeError: %${type} format: a real number is required, not ${typeName(value)}`);
      return Text.own(signed(typeof number === 'bigint' ? number : BigInt(Math.trunc(number)), flags));
    }
    case 'x':
    case 'X':
    case 'o': {
      const number = numberOf(value);
      if (typeof number !== 'bigint')
        throw failure(`TypeError: %${type} format: an integer is required, not ${typeName(value)}`);
      const text = number.toString(type === 'o' ? 8 : 16);
      return Text.own(type === 'X' ? text.toUpperCase() : text);
    }
    case 'f':
    case 'F':
    case 'e':
    case 'E': {
      const number = numberOf(value);
      if (number === null) throw failure(`TypeError: must be real number, not ${typeName(value)}`);
      return Text.own(floating(type, Number(number), Number(precision ?? 6), flags));
    }
    default:
      throw unsupported(`%${type} in a format`);
  }
}

const plus = (flags: string): string => (flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '');

function signed(value: bigint, flags: string): string {
  return value < 0n ? String(value) : plus(flags) + String(value);
}

function floating(type: string, value: number, precision: number, flags: string): string {
  if (precision > 100) throw unsupported('a precision over 100');
  const sign = value < 0 || Object.is(value, -0) ? '' : plus(flags);
  if (!Number.isFinite(value)) return sign + printFloat(value);
  if (type === 'f' || type === 'F') return sign + value.toFixed(precision);
  const text = value.toExponential(precision).replace(/e([+-])(\d)$/, 'e$10$2');
  return sign + (type === 'E' ? text.toUpperCase() : text);
}

function padded(text: Text, flags: string, width: number): Text {
  if (width > widthMax) throw unsupported(`a width over ${widthMax}`);
  const missing = width - text.length;
  if (missing <= 0) return text;
  if (flags.includes('-')) return Text.concat([text, Text.own(' '.repeat(missing))]);
  if (!flags.includes('0')) return Text.concat([Text.own(' '.repeat(missing)), text]);
  const signLength = /^[-+ ]/.test(text.value) ? 1 : 0;
  return Text.concat([text.slice(0, signLength), Text.own('0'.repeat(missing)), text.slice(signLength)]);
}
