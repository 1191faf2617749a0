import { limits } from '@butterfly/common';
import {
  type CallArguments,
  Callable,
  Dict,
  Given,
  Namespace,
  Sequence,
  TemplateFailure,
  Text,
  type Value,
  failure,
  iterate,
  numberOf,
  print,
  typeName,
  unsupported,
} from '@butterfly/python';

function range({ positional }: CallArguments): Value {
  const [first, second, third] = positional.map((value) => {
    const number = numberOf(value);
    if (typeof number === 'bigint') return number;
    throw failure(`TypeError: '${typeName(value)}' object cannot be interpreted as an integer`);
  });
  if (first === undefined) throw failure('TypeError: range expected at least 1 argument, got 0');
  const [start, stop, step] = second === undefined ? [0n, first, 1n] : [first, second, third ?? 1n];
  if (step === 0n) throw failure('ValueError: range() arg 3 must not be zero');
  const items: bigint[] = [];
  for (let at = start; step > 0n ? at < stop : at > stop; at += step)
    if (items.push(at) > limits.templateRangeMax)
      throw failure(
        `OverflowError: Range too big. The sandbox blocks ranges larger than ${limits.templateRangeMax}.`,
      );
  return new Sequence('range', items, { start, stop, step });
}

function dict({ positional, named }: CallArguments): Dict {
  const [source] = positional;
  const entries: (readonly [Value, Value])[] =
    source === undefined
      ? []
      : source instanceof Dict
        ? [...source.entries()]
        : iterate(source).map((pair) => {
            const [key, value, ...more] = iterate(pair);
            if (key === undefined || value === undefined || more.length > 0)
              throw failure('ValueError: a dictionary is made of pairs');
            return [key, value];
          });
  return new Dict([...entries, ...[...named].map(([name, value]) => [Text.own(name), value] as const)]);
}

function namespace(given: CallArguments): Namespace {
  const made = new Namespace();
  for (const [key, value] of dict(given).entries()) made.attributes.set(print(key).value, value);
  return made;
}

function joiner(given: CallArguments): Callable {
  const separator = new Given('joiner', given, ['sep']).text('sep', ', ');
  let isUsed = false;
  return new Callable('joiner', () => {
    const before = isUsed ? separator : Text.empty;
    isUsed = true;
    return before;
  });
}

const raiseException = (given: CallArguments): never => {
  throw new TemplateFailure(
    'raised',
    print(new Given('raise_exception', given, ['message']).value('message')).value,
  );
};

const two = (value: number): string => String(value).padStart(2, '0');
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const;
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const;

/** `datetime.strftime` of Python in the C locale, local time. */
function strftime(date: Date, format: string): string {
  const year = date.getFullYear();
  const dayOfYear = Math.round(
    (Date.UTC(year, date.getMonth(), date.getDate()) - Date.UTC(year, 0, 0)) / 86_400_000,
  );
  const hour12 = date.getHours() % 12 || 12;
  const values: Readonly<Record<string, string>> = {
    '%': '%',
    A: days[date.getDay()] ?? '',
    a: (days[date.getDay()] ?? '').slice(0, 3),
    B: months[date.getMonth()] ?? '',
    b: (months[date.getMonth()] ?? '').slice(0, 3),
    h: (months[date.getMonth()] ?? '').slice(0, 3),
    d: two(date.getDate()),
    e: String(date.getDate()).padStart(2),
    f: `${String(date.getMilliseconds()).padStart(3, '0')}000`,
    H: two(date.getHours()),
    I: two(hour12),
    j: String(dayOfYear).padStart(3, '0'),
    M: two(date.getMinutes()),
    m: two(date.getMonth() + 1),
    n: '\n',
    p: date.getHours() < 12 ? 'AM' : 'PM',
    S: two(date.getSeconds()),
    t: '\t',
    u: String(date.getDay() || 7),
    w: String(date.getDay()),
    Y: String(year),
    y: two(year % 100),
    Z: '',
    z: '',
    D: `${two(date.getMonth() + 1)}/${two(date.getDate())}/${two(year % 100)}`,
    F: `${year}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
    R: `${two(date.getHours())}:${two(date.getMinutes())}`,
    T: `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`,
    X: `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`,
    x: `${two(date.getMonth() + 1)}/${two(date.getDate())}/${two(year % 100)}`,
  };
  return format.replace(/%(-?)([^])/g, (whole, unpadded: string, directive: string) => {
    const value = values[directive];
    if (value === undefined) throw unsupported(`the date directive ${whole}`);
    return unpadded === '' ? value : value.replace(/^[0 ]+(?=.)/, '');
  });
}

/** Functions that templates find, as transformers' `apply_chat_template` gives them. */
export function globals(now: () => Date): ReadonlyMap<string, Value> {
  const functions: readonly (readonly [string, (given: CallArguments) => Value])[] = [
    ['range', range],
    ['dict', dict],
    ['namespace', namespace],
    ['joiner', joiner],
    ['raise_exception', raiseException],
    [
      'strftime_now',
      (given) => {
        const format = new Given('strftime_now', given, ['format']).string('format');
        return format.derive(strftime(now(), format.value));
      },
    ],
    [
      'cycler',
      () => {
        throw unsupported('cycler()');
      },
    ],
    [
      'lipsum',
      () => {
        throw unsupported('lipsum()');
      },
    ],
  ];
  return new Map(functions.map(([name, call]) => [name, new Callable(name, call)]));
}
