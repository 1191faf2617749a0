import { failure, unsupported } from './errors.js';
import { parseWhole } from './numbers.js';
import { print, printInside } from './print.js';
import { formatPercent } from './percent.js';
import { Text } from './text.js';
import { numberOf, tuple, type CallArguments, type Value } from './values.js';

const field = /\{\{|\}\}|\{([^{}!:]*)(?:!([rs]))?(?::([^{}]*))?\}|[{}]/g;
const specification = /^(?:([^])?([<>^]))?([+ -])?(0)?(\d+)?(,)?(?:\.(\d+))?([bcdeEfFgGnosxX%])?$/;
const widthMax = 10_000;

/** Python's `text.format(…)`. @throws TemplateFailure, unsupported for what is beyond plain fields */
export function formatBraces(format: Text, { positional, named }: CallArguments): Text {
  const parts: Text[] = [];
  let at = 0;
  let next = 0;
  for (const match of format.value.matchAll(field)) {
    const [whole, name, conversion, spec = ''] = match;
    parts.push(format.slice(at, match.index));
    at = match.index + whole.length;
    if (whole === '{{' || whole === '}}') {
      parts.push(format.slice(match.index, match.index + 1));
      continue;
    }
    if (name === undefined) throw failure("ValueError: single '{' or '}' in a format string");
    if (/[.[]/.test(name)) throw unsupported(`the field {${name}} of a format`);
    const index = name === '' ? next++ : parseWhole(name);
    const value = index === null ? named.get(name) : positional[Number(index)];
    if (value === undefined) throw failure(`KeyError or IndexError: there is no value for {${name}}`);
    parts.push(specified(conversion === 'r' ? printInside(value) : value, spec));
  }
  parts.push(format.slice(at));
  return Text.concat(parts);
}

function specified(value: Value, spec: string): Text {
  if (spec === '') return print(value);
  const match = specification.exec(spec);
  if (match === null) throw unsupported(`the format specification "${spec}"`);
  const [, fill = ' ', align, sign = '', zero, width = '0', comma, precision, type] = match;
  const number = numberOf(value);
  const text = converted(value, number, { sign, comma, precision, type });
  if (Number(width) > widthMax) throw unsupported(`a width over ${widthMax}`);
  const missing = Math.max(0, Number(width) - text.length);
  if (zero !== undefined && align === undefined) {
    const signs = /^[-+ ]/.test(text.value) ? 1 : 0;
    return Text.concat([text.slice(0, signs), Text.own('0'.repeat(missing)), text.slice(signs)]);
  }
  const side = align ?? (number === null ? '<' : '>');
  const left = side === '>' ? missing : side === '^' ? Math.floor(missing / 2) : 0;
  return Text.concat([Text.own(fill.repeat(left)), text, Text.own(fill.repeat(missing - left))]);
}

function converted(
  value: Value,
  number: bigint | number | null,
  parts: {
    readonly sign: string;
    readonly comma: string | undefined;
    readonly precision: string | undefined;
    readonly type: string | undefined;
  },
): Text {
  const { sign, comma, precision, type } = parts;
  if (value instanceof Text && (type === undefined || type === 's'))
    return precision === undefined ? value : value.slice(0, value.unitOffset(Number(precision)));
  if (number === null || type === 's') throw failure('ValueError: unknown format code for this value');
  const kind = type ?? (typeof number === 'bigint' ? 'd' : null);
  if (kind === null || !'dfFeExXo%'.includes(kind)) {
    if (kind === null && precision === undefined) return print(number);
    throw unsupported(`the format type "${kind ?? 'general'}"`);
  }
  const isPercent = kind === '%';
  const how = `%${sign}${precision === undefined ? '' : `.${precision}`}${isPercent ? 'f' : kind}`;
  const text = formatPercent(Text.own(how), tuple([isPercent ? Number(number) * 100 : number])).value;
  const grouped = comma === undefined ? text : text.replace(/^([-+ ]?\d+)/, withCommas);
  return Text.own(isPercent ? `${grouped}%` : grouped);
}

const withCommas = (digits: string): string => digits.replace(/\B(?=(\d{3})+$)/g, ',');
