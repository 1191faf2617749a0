import { Given } from './arguments.js';
import { capitalized, isLower, isUpper, swapped, titled } from './casing.js';
import { failure, unsupported } from './errors.js';
import { formatBraces } from './format.js';
import { onlySpace } from './white-space.js';
import { replace, split, splitLines, strip } from './split.js';
import { Text } from './text.js';
import { Callable, iterate, list, Sequence, tuple, type CallArguments, type Value } from './values.js';

type Method = (text: Text, given: CallArguments) => Value;

const widthMax = 10_000;

const method =
  (name: string, parameters: readonly string[], run: (text: Text, given: Given) => Value): Method =>
  (text, given) =>
    run(text, new Given(name, given, parameters));

const plain = (name: string, run: (value: string) => string): Method =>
  method(name, [], (text) => text.derive(run(text.value)));

const test = (name: string, run: (value: string) => boolean): Method =>
  method(name, [], ({ value }) => run(value));

const stripping = (name: string, sides: 'both' | 'left' | 'right'): Method =>
  method(name, ['chars'], (text, given) => strip(text, given.optionalString('chars')?.value ?? null, sides));

const splitting = (name: string, fromRight: boolean): Method =>
  method(name, ['sep', 'maxsplit'], (text, given) =>
    list(split(text, given.optionalString('sep')?.value ?? null, given.whole('maxsplit', -1), fromRight)),
  );

/** The part of a text from one code point to before another, as slices count, in code units. */
function span(text: Text, given: Given): [start: number, end: number] {
  const bound = (name: string, fallback: number): number => {
    const value = given.get(name) ?? null;
    if (value === null) return fallback;
    const index = given.whole(name, 0);
    return text.unitOffset(Math.max(0, index < 0 ? text.length + index : index));
  };
  return [bound('start', 0), bound('end', text.value.length)];
}

const affix = (name: string, matches: (value: string, part: string) => boolean): Method =>
  method(name, ['affix', 'start', 'end'], (text, given) => {
    const value = text.value.slice(...span(text, given));
    const wanted = given.value('affix');
    const parts = wanted instanceof Sequence && wanted.kind === 'tuple' ? wanted.items : [wanted];
    return parts.some((part) => {
      if (part instanceof Text) return matches(value, part.value);
      throw failure(`TypeError: ${name} first arg must be str or a tuple of str`);
    });
  });

function finding(name: string, fromRight: boolean, isStrict: boolean): Method {
  return method(name, ['sub', 'start', 'end'], (text, given) => {
    const [start, end] = span(text, given);
    const wanted = given.string('sub').value;
    const part = text.value.slice(start, end);
    const at = fromRight ? part.lastIndexOf(wanted) : part.indexOf(wanted);
    if (at >= 0) return BigInt(text.pointOffset(start + at));
    if (isStrict) throw failure('ValueError: substring not found');
    return -1n;
  });
}

function partition(name: string, fromRight: boolean): Method {
  return method(name, ['sep'], (text, given) => {
    const separator = given.string('sep');
    if (separator.value === '') throw failure('ValueError: empty separator');
    const at = fromRight ? text.value.lastIndexOf(separator.value) : text.value.indexOf(separator.value);
    if (at < 0) return tuple(fromRight ? [Text.empty, Text.empty, text] : [text, Text.empty, Text.empty]);
    const end = at + separator.value.length;
    return tuple([text.slice(0, at), text.slice(at, end), text.slice(end)]);
  });
}

function justified(name: string, place: (missing: number, width: number) => number): Method {
  return method(name, ['width', 'fillchar'], (text, given) => {
    const width = given.whole('width', 0);
    if (width > widthMax) throw unsupported(`a width over ${widthMax}`);
    const missing = Math.max(0, width - text.length);
    const fill = given.text('fillchar', ' ').value;
    const left = place(missing, width);
    return Text.concat([Text.own(fill.repeat(left)), text, Text.own(fill.repeat(missing - left))]);
  });
}

/** Where Python's `center` puts the odd blank. */
export const centred = (missing: number, width: number): number =>
  Math.floor(missing / 2) + (missing & width & 1);

function joined(text: Text, given: Given): Text {
  const parts = iterate(given.value('iterable')).map((part) => {
    if (part instanceof Text) return part;
    throw failure('TypeError: sequence item: expected str instance');
  });
  return Text.join(parts, text);
}

function counted(text: Text, given: Given): bigint {
  const wanted = given.string('sub').value;
  const value = text.value.slice(...span(text, given));
  return BigInt(
    (wanted === '' ? Array.from(value).length + 1 : value.split(wanted).length) - (wanted === '' ? 0 : 1),
  );
}

function zeroFilled(text: Text, given: Given): Text {
  const width = given.whole('width', 0);
  if (width > widthMax) throw unsupported(`a width over ${widthMax}`);
  const sign = /^[+-]/.test(text.value) ? 1 : 0;
  const zeros = Text.own('0'.repeat(Math.max(0, width - text.length)));
  return Text.concat([text.slice(0, sign), zeros, text.slice(sign)]);
}

const methods: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['upper', plain('upper', (value) => value.toUpperCase())],
  ['lower', plain('lower', (value) => value.toLowerCase())],
  ['casefold', plain('casefold', (value) => value.toLowerCase().replaceAll('ß', 'ss'))],
  ['title', plain('title', titled)],
  ['capitalize', plain('capitalize', capitalized)],
  ['swapcase', plain('swapcase', swapped)],
  ['strip', stripping('strip', 'both')],
  ['lstrip', stripping('lstrip', 'left')],
  ['rstrip', stripping('rstrip', 'right')],
  ['split', splitting('split', false)],
  ['rsplit', splitting('rsplit', true)],
  [
    'splitlines',
    method('splitlines', ['keepends'], (text, given) => list(splitLines(text, given.flag('keepends')))),
  ],
  ['startswith', affix('startswith', (value, part) => value.startsWith(part))],
  ['endswith', affix('endswith', (value, part) => value.endsWith(part))],
  [
    'removeprefix',
    method('removeprefix', ['prefix'], (text, given) => {
      const prefix = given.string('prefix').value;
      return text.value.startsWith(prefix) ? text.slice(prefix.length) : text;
    }),
  ],
  [
    'removesuffix',
    method('removesuffix', ['suffix'], (text, given) => {
      const suffix = given.string('suffix').value;
      return text.value.endsWith(suffix) ? text.slice(0, text.value.length - suffix.length) : text;
    }),
  ],
  [
    'replace',
    method('replace', ['old', 'new', 'count'], (text, given) =>
      replace(text, given.string('old').value, given.string('new'), given.whole('count', -1)),
    ),
  ],
  ['join', method('join', ['iterable'], joined)],
  ['find', finding('find', false, false)],
  ['rfind', finding('rfind', true, false)],
  ['index', finding('index', false, true)],
  ['rindex', finding('rindex', true, true)],
  ['count', method('count', ['sub', 'start', 'end'], counted)],
  ['partition', partition('partition', false)],
  ['rpartition', partition('rpartition', true)],
  ['center', justified('center', centred)],
  ['ljust', justified('ljust', () => 0)],
  ['rjust', justified('rjust', (missing) => missing)],
  ['zfill', method('zfill', ['width'], zeroFilled)],
  ['format', (text, given) => formatBraces(text, given)],
  ['isdigit', test('isdigit', (value) => /^[\p{Nd}²³¹⁰⁴-⁹₀-₉]+$/u.test(value))],
  ['isdecimal', test('isdecimal', (value) => /^\p{Nd}+$/u.test(value))],
  ['isnumeric', test('isnumeric', (value) => /^\p{N}+$/u.test(value))],
  ['isalpha', test('isalpha', (value) => /^\p{L}+$/u.test(value))],
  ['isalnum', test('isalnum', (value) => /^[\p{L}\p{N}]+$/u.test(value))],
  ['isspace', test('isspace', (value) => onlySpace.test(value))],
  ['islower', test('islower', isLower)],
  ['isupper', test('isupper', isUpper)],
  ['istitle', test('istitle', (value) => /[\p{Lu}\p{Ll}\p{Lt}]/u.test(value) && titled(value) === value)],
  ['isascii', test('isascii', (value) => /^[\0-\x7f]*$/.test(value))],
  ['isidentifier', test('isidentifier', (value) => /^[\p{L}\p{Nl}_][\p{L}\p{N}\p{M}_]*$/u.test(value))],
]);

/** Methods of Python's `str` that are not built here, so that one says so instead of being undefined. */
const foreign: ReadonlySet<string> = new Set([
  'encode',
  'expandtabs',
  'format_map',
  'isprintable',
  'maketrans',
  'translate',
]);

/** A method of a text; undefined where Python has none of the name. @throws TemplateFailure unsupported */
export function textMethod(text: Text, name: string): Callable | undefined {
  if (foreign.has(name)) throw unsupported(`the string method ${name}()`);
  const found = methods.get(name);
  return found && new Callable(name, (given) => found(text, given));
}
