import type { Below } from './mutate.js';

type Json = null | boolean | number | string | Json[] | JsonObject;
interface JsonObject {
  [key: string]: Json;
}

const oddValues: readonly Json[] = [
  ...[null, true, false, 0, -1, 1, 0.5, 1e308, -1e-320, 2 ** 31, 2 ** 53, 1001, 65_537],
  ...['', ' ', '\0', '\ud83e\udd8b', 'a'.repeat(300), '__proto__', 'constructor', '..', '\u2028', 'null'],
  [],
  {},
  [[]],
  [null],
  { type: 'object' },
  { '': '' },
];
/** Deeper than any reader of ours goes down. */
const nestingMax = 200;

const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** JSON of which one value or name was changed; null where the input is none. */
export function mutatedJson(
  input: Uint8Array,
  options: { readonly below: Below; readonly words: readonly string[]; readonly other: Uint8Array },
): Uint8Array | null {
  const value = parsed(input);
  if (value === undefined) return null;
  const { below, words } = options;
  const other = parsed(options.other) ?? null;
  let result = value;
  for (let change = 1 + below(3); change > 0; change--)
    result = changed(result, { below, words, other }, below(count(result)));
  return Buffer.from(JSON.stringify(result));
}

function parsed(input: Uint8Array): Json | undefined {
  try {
    return JSON.parse(Buffer.from(input).toString()) as Json;
  } catch {
    return undefined;
  }
}

/** Values in it, itself among them. */
function count(value: Json): number {
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce<number>((sum, item) => sum + count(item), 1);
}

interface Choices {
  readonly below: Below;
  readonly words: readonly string[];
  readonly other: Json;
}

/** Changes the value that is so far from the first, in the order of the text. */
function changed(value: Json, choices: Choices, distance: number): Json {
  if (distance === 0) return anew(value, choices);
  let left = distance - 1;
  const within = (item: Json): Json => {
    const values = count(item);
    const result = left >= 0 && left < values ? changed(item, choices, left) : item;
    left -= values;
    return result;
  };
  if (Array.isArray(value)) return value.map(within);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, within(item)]));
}

function anew(value: Json, choices: Choices): Json {
  const { below, words, other } = choices;
  const word = words[below(words.length)] ?? '';
  switch (below(9)) {
    case 0:
      return oddValues[below(oddValues.length)] ?? null;
    case 1:
      return pick(other, below);
    case 2:
      return word;
    case 3:
      return nested(value, 1 + below(below(16) === 0 ? nestingMax : 3), below(2) === 0 ? word : null);
    case 4:
      return Array.from({ length: below(below(16) === 0 ? 300 : 4) }, () => value);
    default:
      return Array.isArray(value) || isObject(value) ? otherParts(value, word, choices) : near(value, below);
  }
}

/** A value that is like it. */
function near(value: Json, below: Below): Json {
  if (typeof value === 'number')
    return [value + 1, value - 1, -value, value * 1000, value / 3][below(5)] ?? 0;
  if (typeof value === 'string') {
    const at = below(value.length + 1);
    const [start, rest] = [value.slice(0, at), value.slice(at)];
    return [start, rest, value + value][below(4)] ?? `${start}\\${rest}`;
  }
  return typeof value === 'boolean' ? !value : value;
}

function otherParts(value: Json[] | JsonObject, word: string, { below, other }: Choices): Json {
  if (Array.isArray(value)) {
    const at = below(value.length + 1);
    return below(2) === 0 ? value.toSpliced(at, 1) : value.toSpliced(at, 0, pick(other, below));
  }
  const entries = Object.entries(value);
  const [key, item] = entries[below(entries.length)] ?? ['', null];
  switch (below(3)) {
    case 0:
      return Object.fromEntries(entries.filter(([name]) => name !== key));
    case 1:
      return { ...value, [word]: item };
    default:
      return { ...value, [word]: pick(other, below) };
  }
}

function nested(value: Json, levels: number, key: string | null): Json {
  let result = value;
  for (let level = 0; level < levels; level++) result = key === null ? [result] : { [key]: result };
  return result;
}

/** A value of it, at any depth. */
function pick(value: Json, below: Below): Json {
  let at = value;
  for (;;) {
    const items: Json[] = typeof at === 'object' && at !== null ? Object.values(at) : [];
    const next = items[below(items.length + 1)];
    if (next === undefined) return at;
    at = next;
  }
}
