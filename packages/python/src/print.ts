import { limits } from '@butterfly/common';
import { failure } from './errors.js';
import { Text } from './text.js';
import {
  Callable,
  Dict,
  Missing,
  Namespace,
  Sequence,
  Stream,
  typeName,
  type Range,
  type Value,
} from './values.js';

/** Python's `repr(float)`: the shortest digits that read back the same, with an exponent from 1e16 and below 1e-4. */
export function printFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [mantissa = '0', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    const digits = String(Math.abs(exponent)).padStart(2, '0');
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${digits}`;
  }
  if (exponent >= 0) return Number.isInteger(value) ? `${BigInt(value)}.0` : String(value);
  const sign = value < 0 ? '-' : '';
  return `${sign}0.${'0'.repeat(-exponent - 1)}${mantissa.replace(/[-.]/g, '')}`;
}

/** Python's `str`. */
export function print(value: Value): Text {
  if (value instanceof Text) return value;
  if (value instanceof Missing) return Text.empty;
  checkPrintable(value);
  return printInside(value);
}

/**
 * Lists that hold one list twice, and so on, are small in memory and without end in print.
 * @throws TemplateFailure
 */
function checkPrintable(value: Value): void {
  let left = limits.templateStepsMax;
  const visit = (each: Value): void => {
    if (left-- <= 0) throw failure(`a value of more than ${limits.templateStepsMax} parts is printed`);
    if (each instanceof Sequence && each.kind !== 'range') for (const item of each.items) visit(item);
    else if (each instanceof Dict)
      for (const [key, item] of each.entries()) {
        visit(key);
        visit(item);
      }
    else if (each instanceof Namespace) for (const item of each.attributes.values()) visit(item);
  };
  visit(value);
}

/** Python's `repr`, which containers print their items with. */
export function printInside(value: Value): Text {
  if (value === null) return Text.own('None');
  if (typeof value === 'boolean') return Text.own(value ? 'True' : 'False');
  if (typeof value === 'bigint') return Text.own(String(value));
  if (typeof value === 'number') return Text.own(printFloat(value));
  if (value instanceof Text) return quoted(value);
  if (value instanceof Missing) return Text.own('Undefined');
  if (value instanceof Sequence) return printSequence(value);
  if (value instanceof Dict) return printEntries(value.entries(), '{', '}');
  if (value instanceof Namespace)
    return printEntries(
      [...value.attributes].map(([key, item]) => [Text.own(key), item] as const),
      '<Namespace {',
      '}>',
    );
  if (value instanceof Stream) return Text.own('<generator object>');
  return Text.own(value instanceof Callable ? `<function ${value.name}>` : `<${typeName(value)}>`);
}

function printSequence({ kind, items, range }: Sequence): Text {
  const inside = Text.join(items.map(printInside), Text.own(', '));
  switch (kind) {
    case 'list':
      return Text.concat([Text.own('['), inside, Text.own(']')]);
    case 'tuple':
      return Text.concat([Text.own('('), inside, Text.own(items.length === 1 ? ',)' : ')')]);
    case 'range':
      return Text.own(printRange(range));
    case 'dict_keys':
    case 'dict_values':
    case 'dict_items':
      return Text.concat([Text.own(`${kind}([`), inside, Text.own('])')]);
    default:
      return kind satisfies never;
  }
}

function printRange(range: Range | null): string {
  const { start, stop, step } = range ?? { start: 0n, stop: 0n, step: 1n };
  return step === 1n ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`;
}

function printEntries(entries: readonly (readonly [Value, Value])[], open: string, close: string): Text {
  const parts = entries.map(([key, item]) =>
    Text.concat([printInside(key), Text.own(': '), printInside(item)]),
  );
  return Text.concat([Text.own(open), Text.join(parts, Text.own(', ')), Text.own(close)]);
}

const namedEscapes: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\\': '\\\\',
};
/** What Python does not print as it is: other than letters, marks, numbers, punctuation, symbols and the space. */
const unprintable = /[\\\p{C}\p{Z}]/gu;

function quoted(text: Text): Text {
  const quote = text.value.includes("'") && !text.value.includes('"') ? '"' : "'";
  const inside = text.value
    .replace(unprintable, (character) => {
      if (character === ' ') return character;
      const code = character.codePointAt(0) ?? 0;
      const named = namedEscapes[character];
      if (named !== undefined) return named;
      if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
      if (code < 0x10000) return `\\u${code.toString(16).padStart(4, '0')}`;
      return `\\U${code.toString(16).padStart(8, '0')}`;
    })
    .replaceAll(quote, quote === "'" ? "\\'" : quote);
  if (inside === text.value) return Text.concat([Text.own(quote), text, Text.own(quote)]);
  return Text.concat([Text.own(quote), text.scramble(inside), Text.own(quote)]);
}

interface JsonOptions {
  readonly ensureAscii: boolean;
  /** What one level is indented by; null for one line. */
  readonly indent: string | null;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

/** Python's `json.dumps`. @throws TemplateFailure for what JSON does not have */
export function printJson(value: Value, options: JsonOptions, depth = 0): Text {
  if (depth === 0) checkPrintable(value);
  if (value === null) return Text.own('null');
  if (typeof value === 'boolean') return Text.own(String(value));
  if (typeof value === 'bigint') return Text.own(String(value));
  if (typeof value === 'number') return Text.own(jsonFloat(value));
  if (value instanceof Text) return jsonText(value, options);
  if (value instanceof Sequence && (value.kind === 'list' || value.kind === 'tuple'))
    return jsonBrackets(
      value.items.map((item) => printJson(item, options, depth + 1)),
      ['[', ']'],
      options,
      depth,
    );
  if (value instanceof Dict) {
    const members = value.entries().map(([key, item]) => ({ key: jsonKey(key), item }));
    if (options.sortKeys)
      members.sort((a, b) => (a.key.value < b.key.value ? -1 : a.key.value > b.key.value ? 1 : 0));
    const parts = members.map(({ key, item }) =>
      Text.concat([
        jsonText(key, options),
        Text.own(options.keySeparator),
        printJson(item, options, depth + 1),
      ]),
    );
    return jsonBrackets(parts, ['{', '}'], options, depth);
  }
  throw failure(`TypeError: Object of type ${typeName(value)} is not JSON serializable`);
}

function jsonBrackets(
  parts: readonly Text[],
  [open, close]: readonly [string, string],
  { indent, itemSeparator }: JsonOptions,
  depth: number,
): Text {
  if (parts.length === 0) return Text.own(open + close);
  const newline = indent === null ? '' : `\n${indent.repeat(depth + 1)}`;
  const end = indent === null ? '' : `\n${indent.repeat(depth)}`;
  return Text.concat([
    Text.own(open + newline),
    Text.join(parts, Text.own(itemSeparator + newline)),
    Text.own(end + close),
  ]);
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  return printFloat(value);
}

function jsonKey(key: Value): Text {
  if (key instanceof Text) return key;
  if (key === null || typeof key === 'boolean') return Text.own(String(key));
  if (typeof key === 'bigint') return Text.own(String(key));
  if (typeof key === 'number') return Text.own(jsonFloat(key));
  throw failure(`TypeError: keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonText(text: Text, { ensureAscii }: JsonOptions): Text {
  let inside = JSON.stringify(text.value).slice(1, -1);
  if (ensureAscii)
    inside = inside.replace(
      /[\u007f-\uffff]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  const quote = Text.own('"');
  return Text.concat([quote, inside === text.value ? text : text.scramble(inside), quote]);
}
