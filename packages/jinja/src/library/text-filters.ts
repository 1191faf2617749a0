import { limits } from '@butterfly/common';
import {
  type CallArguments,
  Dict,
  Given,
  Sequence,
  Text,
  type Value,
  capitalized,
  centred,
  failure,
  formatPercent,
  indexOf,
  iterate,
  lengthOf,
  print,
  printJson,
  replace,
  split,
  splitLines,
  strip,
  textMethod,
  tuple,
} from '@butterfly/python';
import { filter, type Filter } from './filter-types.js';

const byMethod =
  (name: string, method = name): Filter =>
  (value, given) => {
    const found = textMethod(print(value), method);
    if (found === undefined) throw failure(`there is no string method for the filter ${name}`);
    return found.call(given);
  };

const wordStart = /([-\s({[<]+)/;

function titled(value: Value): Text {
  const text = print(value);
  return text.derive(text.value.split(wordStart).map(capitalized).join(''));
}

function indented(value: Value, given: Given): Text {
  const width = given.get('width') ?? 4n;
  const indentation = width instanceof Text ? width : Text.own(' '.repeat(boundedWidth(indexOf(width))));
  if (!(value instanceof Text)) throw failure('TypeError: only a str can be indented');
  const newline = Text.own('\n');
  const lines = splitLines(Text.concat([value, newline]), false);
  const isBlank = given.flag('blank');
  const indentedLines = lines.map((line, index) =>
    index === 0 || (!isBlank && line.value === '') ? line : Text.concat([indentation, line]),
  );
  const text = Text.join(indentedLines, newline);
  return given.flag('first') ? Text.concat([indentation, text]) : text;
}

function boundedWidth(width: number): number {
  if (width > limits.templateWidthMax)
    throw failure(`OverflowError: a width over ${limits.templateWidthMax}`);
  return Math.max(0, width);
}

function truncated(value: Value, given: Given): Value {
  const length = given.whole('length', 255);
  const end = given.text('end', '...');
  const leeway = (given.get('leeway') ?? null) === null ? 5 : given.whole('leeway', 5);
  if (lengthOf(value) <= length + leeway) return value;
  if (!(value instanceof Text)) throw failure('TypeError: only a str can be truncated');
  const kept = value.slice(0, value.unitOffset(Math.max(0, length - end.length)));
  if (given.flag('killwords')) return Text.concat([kept, end]);
  return Text.concat([split(kept, ' ', 1, true)[0] ?? kept, end]);
}

function jsonOf(value: Value, given: Given): Text {
  const separators = given.get('separators') ?? null;
  const indentation = given.get('indent') ?? null;
  const indent =
    indentation === null
      ? null
      : indentation instanceof Text
        ? indentation.value
        : ' '.repeat(boundedWidth(indexOf(indentation)));
  const [item, key] =
    separators === null ? [null, null] : iterate(separators).map((each) => print(each).value);
  return printJson(value, {
    ensureAscii: given.flag('ensure_ascii'),
    indent,
    itemSeparator: item ?? (indent === null ? ', ' : ','),
    keySeparator: key ?? ': ',
    sortKeys: given.flag('sort_keys'),
  });
}

const htmlEscapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};

function escaped(value: Value): Text {
  const text = print(value);
  return text.scramble(text.value.replace(/[&<>'"]/g, (character) => htmlEscapes[character] ?? character));
}

function pairOf([key, item, ...more]: readonly Value[]): readonly [Value, Value] {
  if (key === undefined || item === undefined || more.length > 0)
    throw failure('ValueError: expected pairs to unpack');
  return [key, item];
}

function urlEncoded(value: Value): Text {
  const quote = (text: Value, isQuery: boolean): Text => {
    const printed = print(text);
    const encoded = encodeURIComponent(printed.value).replace(
      /[!'()*]/g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
    );
    return printed.scramble(isQuery ? encoded.replaceAll('%20', '+') : encoded.replaceAll('%2F', '/'));
  };
  if (value instanceof Text || !(value instanceof Dict || value instanceof Sequence))
    return quote(value, false);
  const pairs = value instanceof Dict ? value.entries() : iterate(value).map((pair) => iterate(pair));
  return Text.join(
    pairs
      .map((pair) => pairOf(pair))
      .map(([key, item]) => Text.concat([quote(key, true), Text.own('='), quote(item, true)])),
    Text.own('&'),
  );
}

function formatted(value: Value, given: CallArguments): Value {
  if (given.named.size === 0) return formatPercent(print(value), tuple(given.positional));
  if (given.positional.length > 0)
    throw failure("FilterArgumentError: can't handle positional and keyword arguments at the same time");
  return formatPercent(print(value), new Dict([...given.named].map(([key, item]) => [Text.own(key), item])));
}

/** Filters of jinja2 that give texts (jinja2/filters.py). */
export const textFilters: readonly (readonly [string, Filter])[] = [
  ['capitalize', byMethod('capitalize')],
  ['lower', byMethod('lower')],
  ['upper', byMethod('upper')],
  ['title', filter('title', [], titled)],
  [
    'trim',
    filter('trim', ['chars'], (value, given) =>
      strip(print(value), given.optionalString('chars')?.value ?? null, 'both'),
    ),
  ],
  [
    'center',
    filter('center', ['width'], (value, given) => {
      const text = print(value);
      const width = boundedWidth(given.whole('width', 80));
      const missing = Math.max(0, width - text.length);
      const left = centred(missing, width);
      return Text.concat([Text.own(' '.repeat(left)), text, Text.own(' '.repeat(missing - left))]);
    }),
  ],
  [
    'replace',
    filter('replace', ['old', 'new', 'count'], (value, given) => {
      const count = given.get('count') ?? null;
      return replace(
        print(value),
        given.text('old').value,
        given.text('new'),
        count === null ? -1 : given.whole('count', -1),
      );
    }),
  ],
  ['string', filter('string', [], print)],
  ['safe', filter('safe', [], print)],
  ['escape', filter('escape', [], escaped)],
  ['e', filter('e', [], escaped)],
  ['forceescape', filter('forceescape', [], escaped)],
  ['indent', filter('indent', ['width', 'first', 'blank'], indented)],
  ['truncate', filter('truncate', ['length', 'killwords', 'end', 'leeway'], truncated)],
  ['tojson', filter('tojson', ['ensure_ascii', 'indent', 'separators', 'sort_keys'], jsonOf)],
  ['urlencode', filter('urlencode', [], urlEncoded)],
  ['format', formatted],
  [
    'wordcount',
    filter('wordcount', [], (value) => BigInt(print(value).value.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)),
  ],
];
