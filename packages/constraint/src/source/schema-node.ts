import { ButterflyError, limits } from '@butterfly/common';
import type { Json, JsonObject, Path } from './constraint.js';
import { invalid, quoted, unsupported } from './refusals.js';

/** What says nothing of what is valid. */
const annotations: ReadonlySet<string> = new Set([
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'contentEncoding',
  'contentMediaType',
]);

/** Keywords by the type that they say something of; of any other type they say nothing. */
const families = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
} as const;
/** Those that say it all, beside which only `type` may stand. */
const whole = ['const', 'enum', 'anyOf', 'oneOf', 'allOf', '$ref'] as const;
const known: ReadonlySet<string> = new Set<string>(['type', ...whole, ...Object.values(families).flat()]);

export const jsonTypes = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
export type JsonType = (typeof jsonTypes)[number];
type Whole = (typeof whole)[number];

/** What one schema says. */
export type SchemaNode =
  | { readonly kind: 'anything' }
  | {
      readonly kind: 'whole';
      readonly keyword: Whole;
      readonly value: Json;
      readonly types: readonly JsonType[] | null;
    }
  | { readonly kind: 'types'; readonly types: readonly JsonType[]; readonly keywords: JsonObject };

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/**
 * Takes a schema apart and refuses every keyword that answers would not be held to.
 * @throws ButterflyError REQUEST_INVALID, REQUEST_UNSUPPORTED, each with the path
 */
export function readSchema(schema: Json | undefined, path: Path): SchemaNode {
  if (schema === true) return { kind: 'anything' };
  if (schema === false)
    throw unsupported(path, 'no value is valid by "false", so that no answer could be given.');
  if (!isObject(schema)) throw invalid(path, 'a schema must be an object or true.');
  const keywords = Object.keys(schema).filter((key) => !annotations.has(key) && !key.startsWith('x-'));
  for (const key of keywords)
    if (!known.has(key))
      throw unsupported([...path, key], `answers are not held to the keyword ${quoted(key)}; leave it out.`);
  const types = readTypes(schema.type, [...path, 'type']);
  const said = whole.filter((key) => Object.hasOwn(schema, key));
  const [keyword] = said;
  if (keyword !== undefined) {
    const other = keywords.find((key) => key !== keyword && key !== 'type');
    if (other !== undefined)
      throw unsupported(
        [...path, other],
        `answers are not held to ${quoted(other)} beside ${quoted(keyword)}.`,
      );
    const mayHaveType = keyword === 'const' || keyword === 'enum';
    if (types !== null && !mayHaveType)
      throw unsupported([...path, 'type'], `answers are not held to "type" beside ${quoted(keyword)}.`);
    return { kind: 'whole', keyword, value: schema[keyword] ?? null, types };
  }
  if (types !== null) return { kind: 'types', types, keywords: schema };
  const implied = (['object', 'array', 'string', 'number'] as const).filter((type) =>
    families[type].some((key) => Object.hasOwn(schema, key)),
  );
  // Any other type would be valid too: of what is allowed, answers have the part that is meant.
  return implied.length === 0 ? { kind: 'anything' } : { kind: 'types', types: implied, keywords: schema };
}

function readTypes(value: Json | undefined, path: Path): readonly JsonType[] | null {
  if (value === undefined) return null;
  const list = isList(value) ? value : [value];
  const types = list.map((each) => {
    const type = jsonTypes.find((name) => name === each);
    if (type === undefined)
      throw invalid(path, `must be one of ${jsonTypes.join(', ')}, or a list of these.`);
    return type;
  });
  if (types.length === 0) throw invalid(path, 'must name a type.');
  return types;
}

/** A whole number from 0 on. @throws ButterflyError REQUEST_INVALID */
export function readCount(keywords: JsonObject, key: string, path: Path): number | null {
  const value = keywords[key];
  if (value === undefined) return null;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0)
    throw invalid([...path, key], 'must be a whole number from 0 on.');
  if (value > limits.repetitionsMax)
    throw unsupported([...path, key], `must be at most ${limits.repetitionsMax}.`);
  return value;
}

/**
 * Bounds what a schema takes to walk: values, depth, and characters of its texts.
 * @throws ButterflyError REQUEST_INVALID
 */
export function checkSize(schema: Json, path: Path): void {
  let values = 0;
  let characters = 0;
  const visit = (value: Json, depth: number): void => {
    values++;
    if (typeof value === 'string') characters += value.length;
    if (depth > limits.constraintDepthMax) throw tooLarge(path, `${limits.constraintDepthMax} levels`);
    if (values > limits.schemaValuesMax) throw tooLarge(path, `${limits.schemaValuesMax} values`);
    if (typeof value !== 'object' || value === null) return;
    for (const [key, each] of Object.entries(value)) {
      characters += key.length;
      visit(each, depth + 1);
    }
  };
  visit(schema, 0);
  if (characters > limits.grammarBytesMax) throw tooLarge(path, `${limits.grammarBytesMax} characters`);
}

function tooLarge(path: Path, bound: string): ButterflyError {
  return invalid(path, `a schema has at most ${bound}.`);
}

/** What a local reference means. @throws ButterflyError REQUEST_INVALID, REQUEST_UNSUPPORTED */
export function resolve(root: Json, reference: string, path: Path): Json {
  if (!reference.startsWith('#'))
    throw unsupported(
      path,
      `${quoted(reference)} is elsewhere; only references into the schema itself (#…) are followed.`,
    );
  if (reference !== '#' && !reference.startsWith('#/'))
    throw unsupported(path, `${quoted(reference)} is a name; only references by path (#/…) are followed.`);
  let value: Json | undefined = root;
  for (const part of reference.split('/').slice(1)) {
    const key = decoded(part, path);
    const from: Json | undefined = value;
    if (isList(from)) value = from[Number(key)];
    else value = isObject(from) && Object.hasOwn(from, key) ? from[key] : undefined;
  }
  if (value === undefined) throw invalid(path, `${quoted(reference)} leads to nothing in the schema.`);
  return value;
}

function decoded(part: string, path: Path): string {
  try {
    return decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch (cause) {
    throw new ButterflyError(
      'REQUEST_INVALID',
      `${path.join('.')}: ${quoted(part)} is not percent-encoded rightly.`,
      {
        cause,
        param: path.join('.'),
      },
    );
  }
}
