import {
  type CallArguments,
  Dict,
  Given,
  Missing,
  Stream,
  Text,
  type Value,
  binary,
  compare,
  failure,
  isEqual,
  isTrue,
  iterate,
  list,
  noCallArguments,
  numberOf,
  print,
  tuple,
  typeName,
} from '@butterfly/python';
import { attributeReader, filter, folded, type Filter, type FilterContext } from './filter-types.js';

/** Reads what a filter compares by: an attribute or the value, in lower case unless case matters. */
function keyOf(given: Given): (value: Value) => Value {
  const read = attributeReader(given.get('attribute') ?? null);
  return given.flag('case_sensitive') ? read : (value) => folded(read(value));
}

function sortedBy(values: readonly Value[], key: (value: Value) => Value, isReverse: boolean): Value[] {
  const keyed = values.map((value) => [key(value), value] as const);
  const sorted = keyed.toSorted(([a], [b]) => {
    const order = compare(a, b, '<');
    return isReverse ? -order : order;
  });
  return sorted.map(([, value]) => value);
}

const sorted = (value: Value, given: Given): Value => {
  const commas = given.get('attribute') ?? null;
  const paths: Value[] =
    commas instanceof Text ? commas.value.split(',').map((path) => Text.own(path)) : [commas];
  const readers = paths.map((path) => attributeReader(path));
  const isExact = given.flag('case_sensitive');
  const key = (item: Value): Value =>
    list(readers.map((read) => (isExact ? read(item) : folded(read(item)))));
  return list(sortedBy(iterate(value), key, given.flag('reverse')));
};

function dictSorted(value: Value, given: Given): Value {
  if (!(value instanceof Dict)) throw failure(`TypeError: '${typeName(value)}' object has no items`);
  const by = given.text('by', 'key').value;
  if (by !== 'key' && by !== 'value')
    throw failure('FilterArgumentError: You can only sort by either "key" or "value"');
  const isExact = given.flag('case_sensitive');
  const key = (pair: Value): Value => {
    const [name = null, item = null] = iterate(pair);
    const chosen = by === 'key' ? name : item;
    return isExact ? chosen : folded(chosen);
  };
  return list(
    sortedBy(
      value.entries().map((entry) => tuple(entry)),
      key,
      given.flag('reverse'),
    ),
  );
}

function extreme(value: Value, given: Given, sign: 1 | -1): Value {
  const key = keyOf(given);
  let best: { readonly value: Value; readonly key: Value } | null = null;
  for (const item of iterate(value)) {
    const itemKey = key(item);
    if (best === null || sign * compare(itemKey, best.key, sign > 0 ? '>' : '<') > 0)
      best = { value: item, key: itemKey };
  }
  return best === null ? new Missing('No aggregated item, sequence was empty.') : best.value;
}

function unique(value: Value, given: Given): Value {
  const key = keyOf(given);
  const seen: Value[] = [];
  return new Stream(
    iterate(value).filter((item) => {
      const itemKey = key(item);
      new Dict([[itemKey, null]]);
      if (seen.some((each) => isEqual(each, itemKey))) return false;
      seen.push(itemKey);
      return true;
    }),
  );
}

function grouped(value: Value, given: Given): Value {
  const path = given.value('attribute');
  const fallback = given.get('default');
  const read = attributeReader(path, fallback);
  const key = given.flag('case_sensitive') ? read : (item: Value): Value => folded(read(item));
  const groups: { readonly key: Value; readonly items: Value[] }[] = [];
  for (const item of sortedBy(iterate(value), key, false)) {
    const last = groups.at(-1);
    if (last !== undefined && isEqual(last.key, key(item))) last.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  return list(groups.map(({ items }) => tuple([read(items[0] ?? null), list(items)])));
}

function joined(value: Value, given: Given): Value {
  const read = attributeReader(given.get('attribute') ?? null);
  return Text.join(
    iterate(value).map((item) => print(read(item))),
    given.text('d', ''),
  );
}

function reversed(value: Value): Value {
  if (value instanceof Text) return Text.concat(value.points().toReversed());
  const items = iterate(value).toReversed();
  return value instanceof Stream ? list(items) : new Stream(items);
}

function last(value: Value): Value {
  if (value instanceof Stream) throw failure("TypeError: 'generator' object is not reversible");
  const item = iterate(value).at(-1);
  return item === undefined ? new Missing('No last item, sequence was empty.') : item;
}

function summed(value: Value, given: Given): Value {
  const read = attributeReader(given.get('attribute') ?? null);
  const start = given.get('start') ?? 0n;
  if (start instanceof Text) throw failure("TypeError: sum() can't sum strings");
  return iterate(value).reduce<Value>((sum, item) => binary('+', sum, read(item)), start);
}

function batched(value: Value, given: Given): Value {
  const size = given.whole('linecount', 0);
  const fill = given.get('fill_with') ?? null;
  const items = iterate(value);
  if (size < 1) return new Stream(items.length === 0 ? [] : [list(items)]);
  const batches: Value[] = [];
  for (let at = 0; at < items.length; at += size) {
    const batch = items.slice(at, at + size);
    const missing = fill === null ? 0 : size - batch.length;
    batches.push(list([...batch, ...Array.from({ length: Math.min(missing, 10_000) }, () => fill)]));
  }
  return new Stream(batches);
}

function sliced(value: Value, given: Given): Value {
  const count = Math.min(given.whole('slices', 0), 10_000);
  if (count < 1) throw failure('ZeroDivisionError: integer division or modulo by zero');
  const fill = given.get('fill_with') ?? null;
  const items = iterate(value);
  const [size, extra] = [Math.floor(items.length / count), items.length % count];
  const slices: Value[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    const end = at + size + (index < extra ? 1 : 0);
    const slice = items.slice(at, end);
    slices.push(list(fill !== null && index >= extra ? [...slice, fill] : slice));
    at = end;
  }
  return new Stream(slices);
}

function mapped(value: Value, { positional, named }: CallArguments, context: FilterContext): Value {
  if (!isTrue(value)) return new Stream([]);
  const [name, ...rest] = positional;
  if (name === undefined) {
    const given = new Given('map', { positional, named }, ['attribute', 'default']);
    const read = attributeReader(given.value('attribute'), given.get('default'));
    return new Stream(iterate(value).map(read));
  }
  return new Stream(
    iterate(value).map((item) => context.filter(print(name).value, item, { positional: rest, named })),
  );
}

function selecting(isKept: boolean, byAttribute: boolean): Filter {
  return (value, { positional, named }, context) => {
    if (!isTrue(value)) return new Stream([]);
    const [path] = positional;
    if (byAttribute && path === undefined)
      throw failure('FilterArgumentError: Missing parameter for attribute name');
    const read = byAttribute ? attributeReader(path ?? null) : (item: Value): Value => item;
    const [name, ...rest] = positional.slice(byAttribute ? 1 : 0);
    const isChosen = (item: Value): boolean =>
      name === undefined
        ? isTrue(read(item))
        : context.test(print(name).value, read(item), { ...noCallArguments, positional: rest, named });
    return new Stream(iterate(value).filter((item) => isChosen(item) === isKept));
  };
}

function listOf(value: Value): Value {
  if (value === null || numberOf(value) !== null)
    throw failure(`TypeError: '${typeName(value)}' object is not iterable`);
  return list(iterate(value));
}

function firstOf(value: Value): Value {
  const [item] = iterate(value);
  return item === undefined ? new Missing('No first item, sequence was empty.') : item;
}

/** Filters of jinja2 on sequences (jinja2/filters.py). */
export const listFilters: readonly (readonly [string, Filter])[] = [
  ['list', filter('list', [], listOf)],
  ['first', filter('first', [], firstOf)],
  ['last', filter('last', [], last)],
  ['join', filter('join', ['d', 'attribute'], joined)],
  ['sort', filter('sort', ['reverse', 'case_sensitive', 'attribute'], sorted)],
  ['dictsort', filter('dictsort', ['case_sensitive', 'by', 'reverse'], dictSorted)],
  ['min', filter('min', ['case_sensitive', 'attribute'], (value, given) => extreme(value, given, -1))],
  ['max', filter('max', ['case_sensitive', 'attribute'], (value, given) => extreme(value, given, 1))],
  ['unique', filter('unique', ['case_sensitive', 'attribute'], unique)],
  ['groupby', filter('groupby', ['attribute', 'default', 'case_sensitive'], grouped)],
  ['reverse', filter('reverse', [], reversed)],
  ['sum', filter('sum', ['attribute', 'start'], summed)],
  ['batch', filter('batch', ['linecount', 'fill_with'], batched)],
  ['slice', filter('slice', ['slices', 'fill_with'], sliced)],
  ['map', mapped],
  ['select', selecting(true, false)],
  ['reject', selecting(false, false)],
  ['selectattr', selecting(true, true)],
  ['rejectattr', selecting(false, true)],
];
