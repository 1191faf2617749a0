import { Given } from './arguments.js';
import { failure } from './errors.js';
import { Text } from './text.js';
import { textMethod } from './text-methods.js';
import {
  Callable,
  Dict,
  indexOf,
  isEqual,
  LoopValue,
  Missing,
  Namespace,
  numberOf,
  Sequence,
  tuple,
  typeName,
  type CallArguments,
  type Range,
  type Value,
} from './values.js';

type Method<T> = (self: T, given: CallArguments) => Value;

const dictMethods: ReadonlyMap<string, Method<Dict>> = new Map<string, Method<Dict>>([
  [
    'get',
    (dict, given) => {
      const bound = new Given('get', given, ['key', 'default']);
      const found = dict.get(bound.value('key'));
      return found === undefined ? bound.or('default', null) : found;
    },
  ],
  ['keys', (dict) => new Sequence('dict_keys', dict.keys())],
  [
    'values',
    (dict) =>
      new Sequence(
        'dict_values',
        dict.entries().map(([, value]) => value),
      ),
  ],
  [
    'items',
    (dict) =>
      new Sequence(
        'dict_items',
        dict.entries().map((entry) => tuple(entry)),
      ),
  ],
  ['copy', (dict) => dict],
]);

const listMethods: ReadonlyMap<string, Method<Sequence>> = new Map<string, Method<Sequence>>([
  [
    'index',
    ({ items }, given) => {
      const wanted = new Given('index', given, ['value']).value('value');
      const at = items.findIndex((item) => isEqual(item, wanted));
      if (at < 0) throw failure('ValueError: the value is not in the list');
      return BigInt(at);
    },
  ],
  [
    'count',
    ({ items }, given) => {
      const wanted = new Given('count', given, ['value']).value('value');
      return BigInt(items.filter((item) => isEqual(item, wanted)).length);
    },
  ],
  ['copy', (self) => self],
]);

/** What changes a list or dict is closed to templates: their sandbox is immutable. */
const closed: ReadonlySet<string> = new Set([
  'append',
  'clear',
  'extend',
  'insert',
  'pop',
  'popitem',
  'remove',
  'reverse',
  'setdefault',
  'sort',
  'update',
]);

/** `object.name` of Python itself, before keys of a dict are looked at. */
function own(object: Value, name: string): Value | undefined {
  if (object instanceof Text) return textMethod(object, name);
  if (object instanceof Namespace) return object.attributes.get(name);
  if (object instanceof LoopValue) return object.attribute(name);
  if (object instanceof Dict) {
    const method = dictMethods.get(name);
    if (method) return new Callable(name, (given) => method(object, given));
  } else if (object instanceof Sequence && (object.kind === 'list' || object.kind === 'tuple')) {
    const method = name === 'copy' && object.kind === 'tuple' ? undefined : listMethods.get(name);
    if (method) return new Callable(name, (given) => method(object, given));
  } else if (object instanceof Callable && name === 'name') return Text.own(object.name);
  if ((object instanceof Dict || object instanceof Sequence) && closed.has(name))
    return new Missing(`access to attribute '${name}' of '${typeName(object)}' object is unsafe.`);
  return undefined;
}

/** `object[key]`; undefined where there is none. */
function item(object: Value, key: Value): Value | undefined {
  if (object instanceof Dict) return object.get(key);
  const length =
    object instanceof Text ? object.length : object instanceof Sequence ? object.items.length : 0;
  if (typeof numberOf(key) !== 'bigint') return undefined;
  const index = indexOf(key);
  const at = index < 0 ? length + index : index;
  if (at < 0 || at >= length) return undefined;
  if (object instanceof Text) return object.slice(object.unitOffset(at), object.unitOffset(at + 1));
  return object instanceof Sequence && !object.kind.startsWith('dict_') ? object.items[at] : undefined;
}

const missingIn = (object: Value, name: string): Missing =>
  new Missing(
    object === null
      ? `'None' has no attribute '${name}'`
      : `'${typeName(object)} object' has no attribute '${name}'`,
  );

/** `object.name`. @throws TemplateFailure for an undefined object */
export function attributeOf(object: Value, name: string): Value {
  if (object instanceof Missing) throw failure(`UndefinedError: ${object.message}`);
  const attribute = own(object, name);
  if (attribute !== undefined) return attribute;
  const found = item(object, Text.own(name));
  return found === undefined ? missingIn(object, name) : found;
}

/** `object[key]`. @throws TemplateFailure for an undefined object */
export function itemOf(object: Value, key: Value): Value {
  if (object instanceof Missing) throw failure(`UndefinedError: ${object.message}`);
  const name = key instanceof Text ? key.value : '';
  const isKey = !(
    key instanceof Dict ||
    key instanceof Missing ||
    (key instanceof Sequence && key.kind === 'list')
  );
  const found = isKey ? item(object, key) : undefined;
  if (found !== undefined) return found;
  const attribute = key instanceof Text ? own(object, name) : undefined;
  return attribute === undefined ? missingIn(object, name) : attribute;
}

/** `object[start:stop:step]`. @throws TemplateFailure for what has no slices */
export function sliceOf(object: Value, bounds: readonly (Value | null)[]): Value {
  const [start, stop, step] = bounds.map((bound) =>
    (bound ?? null) === null ? null : indexOf(bound ?? null),
  );
  if (object instanceof Missing) throw failure(`UndefinedError: ${object.message}`);
  if (object instanceof Text) return slicedText(object, start ?? null, stop ?? null, step ?? 1);
  if (object instanceof Sequence && !object.kind.startsWith('dict_')) {
    const { from, to, indices } = picked(object.items.length, start ?? null, stop ?? null, step ?? 1);
    const items = indices.flatMap((index) => object.items.slice(index, index + 1));
    const range = object.range && slicedRange(object.range, from, to, step ?? 1);
    return new Sequence(object.kind, items, range);
  }
  throw failure(`TypeError: '${typeName(object)}' object is not subscriptable`);
}

function slicedRange(range: Range, from: number, to: number, step: number): Range {
  const at = (index: number): bigint => range.start + BigInt(index) * range.step;
  return { start: at(from), stop: at(to), step: range.step * BigInt(step) };
}

function slicedText(text: Text, start: number | null, stop: number | null, step: number): Text {
  if (step === 1) {
    const { length } = text;
    const [from, to] = [bounded(start ?? 0, length, 0, length), bounded(stop ?? length, length, 0, length)];
    return text.slice(text.unitOffset(from), text.unitOffset(to));
  }
  const points = text.points();
  const { indices } = picked(points.length, start, stop, step);
  return Text.concat(indices.map((index) => points[index] ?? Text.empty));
}

const bounded = (index: number, length: number, least: number, most: number): number =>
  Math.min(most, Math.max(least, index < 0 ? index + length : index));

/** Indices that a slice takes, as Python's `slice.indices`. */
function picked(
  length: number,
  start: number | null,
  stop: number | null,
  step: number,
): { readonly from: number; readonly to: number; readonly indices: readonly number[] } {
  if (step === 0) throw failure('ValueError: slice step cannot be zero');
  const [least, most] = step > 0 ? [0, length] : [-1, length - 1];
  const from = start === null ? (step > 0 ? 0 : length - 1) : bounded(start, length, least, most);
  const to = stop === null ? (step > 0 ? length : -1) : bounded(stop, length, least, most);
  const indices: number[] = [];
  for (let at = from; step > 0 ? at < to : at > to; at += step) indices.push(at);
  return { from, to, indices };
}
