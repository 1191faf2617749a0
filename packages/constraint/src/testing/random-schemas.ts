import type { Json, JsonObject } from '../source/constraint.js';

/** Numbers in [0, 1) that a seed decides. */
export type Random = () => number;

/** A small generator of T. Wang's mix, good enough to choose by. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const names = ['name', 'age', 'na', 'list of "x"', 'größe', 'kind', 'a\\b', 'tags', 'wide\n', 'id'];
const patterns = [
  '^[a-z]{1,6}$',
  '^(yes|no)$',
  '[0-9]{2}-?',
  '^\\w+\\.\\w{2,3}$',
  '^"quoted" \\\\ [^a-z]$',
  '^.{1,4}$',
];
const formats = ['date', 'time', 'date-time', 'duration', 'uuid', 'email', 'hostname', 'ipv4', 'ipv6', 'uri'];
const constants: readonly Json[] = ['a', 'ä"\\', 1, -0.5, null, true, { a: [1, 'x'] }, []];

/** A schema of the keywords that answers are held to, nested and, at times, recursive. */
export function randomSchema(seed: number): JsonObject {
  const random = randomFrom(seed);
  const schema = object(random, 3);
  return { ...schema, $defs: { node: node(random) } };
}

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T;
}

function below(random: Random, end: number): number {
  return Math.floor(random() * end);
}

function object(random: Random, depth: number): JsonObject {
  const chosen = names.filter(() => random() < 0.4);
  const properties = Object.fromEntries(chosen.map((name) => [name, value(random, depth - 1)]));
  const required = chosen.filter(() => random() < 0.6);
  const others = pick<Json | undefined>(random, [false, false, undefined, { type: 'integer' }]);
  return {
    type: 'object',
    properties,
    required,
    ...(others === undefined ? {} : { additionalProperties: others }),
  };
}

/** A list that refers to itself, and mostly ends soon. */
function node(random: Random): JsonObject {
  const next: JsonObject = { anyOf: [{ type: 'null' }, { const: 'end' }, { $ref: '#/$defs/node' }] };
  return {
    type: 'object',
    properties: { value: scalar(random), next },
    required: ['value', 'next'],
    additionalProperties: false,
  };
}

function value(random: Random, depth: number): Json {
  if (depth <= 0) return scalar(random);
  switch (below(random, 7)) {
    case 0:
      return object(random, depth);
    case 1:
      return list(random, depth);
    case 2:
      return { anyOf: [value(random, depth - 1), scalar(random)] };
    case 3:
      return { $ref: '#/$defs/node' };
    case 4:
      return { oneOf: [{ type: 'integer', minimum: 0 }, string(random), { type: 'null' }] };
    default:
      return scalar(random);
  }
}

function list(random: Random, depth: number): JsonObject {
  const prefixItems = random() < 0.3 ? [scalar(random), scalar(random)] : null;
  const minItems = below(random, 4);
  return {
    type: 'array',
    items: prefixItems && random() < 0.5 ? false : value(random, depth - 1),
    ...(prefixItems ? { prefixItems, minItems: Math.min(minItems, 2) } : { minItems }),
    ...(random() < 0.7 ? { maxItems: 4 + below(random, 3) } : {}),
  };
}

function scalar(random: Random): JsonObject {
  switch (below(random, 6)) {
    case 0:
      return string(random);
    case 1:
      return { type: pick(random, ['integer', 'number']), ...bounds(random) };
    case 2:
      return { type: pick(random, ['boolean', 'null']) };
    case 3:
      return { enum: [pick(random, constants), pick(random, constants)] };
    case 4:
      return { const: pick(random, constants) };
    default:
      return { type: ['integer', 'null'], minimum: -below(random, 300) };
  }
}

function string(random: Random): JsonObject {
  switch (below(random, 4)) {
    case 0:
      return { type: 'string', pattern: pick(random, patterns) };
    case 1:
      return { type: 'string', format: pick(random, formats) };
    case 2: {
      const minLength = below(random, 5);
      return { type: 'string', minLength, maxLength: minLength + below(random, 40) };
    }
    default:
      return { type: 'string' };
  }
}

function bounds(random: Random): JsonObject {
  const round = (number: number): number => Number(number.toFixed(below(random, 4)));
  const low = round((random() - 0.5) * 10 ** below(random, 6));
  const high = Number((low + 1 + random() * 10 ** below(random, 6)).toFixed(3));
  const least: JsonObject = random() < 0.5 ? { minimum: low } : { exclusiveMinimum: low };
  const most: JsonObject = random() < 0.5 ? { maximum: high } : { exclusiveMaximum: high };
  const which = below(random, 4);
  return which === 0 ? {} : which === 1 ? least : which === 2 ? most : { ...least, ...most };
}
