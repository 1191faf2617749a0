import { limits } from '@butterfly/common';
import type { Json, JsonObject, Path } from './constraint.js';
import { characterSet, charactersOf } from './character-set.js';
import { choice, nothing, quoteMark, repeated, sequence, type Expression, type RuleBook } from './grammar-text.js';
import { anyInteger, anyNumber, integerGrammar, isPlainBound, numberGrammar, type NumberBounds } from './number-grammar.js';
import { blank, objectGrammar, type Property } from './object-grammar.js';
import { anyOf, choiceOf, sequenceOf, text, times, type Pattern } from './pattern.js';
import { patternRules } from './pattern-rules.js';
import { invalid, quoted, unsupported } from './refusals.js';
import { jsonForm, matching, unescaped } from './regex-grammar.js';
import { checkSize, isList, isObject, readCount, readSchema, resolve, type JsonType, type SchemaNode } from './schema-node.js';
import { stringFormats } from './string-formats.js';

/** Schemas that are walked between two values of an answer: references and alternatives without end say nothing. */
type Chain = ReadonlySet<string>;
const noChain: Chain = new Set();

/**
 * JSON that is valid by a schema (draft 2020-12, or an older one as far as they agree). What is allowed may be less than
 * what is valid: properties come in the order of the schema, once each, and an object that names properties and does not
 * speak of others has no others.
 * @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED with the path of the keyword that answers cannot be held to
 */
export function schemaGrammar(schema: Json, book: RuleBook, path: Path): Expression {
  checkSize(schema, path);
  return new SchemaWalk(schema, book, path).expression(schema, path, noChain);
}

/** Any JSON value, objects and lists within each other to any depth. */
export function anyValue(book: RuleBook): Expression {
  return book.once('value', () =>
    choice(
      anyObject(book),
      listOf('value', book),
      plainString(book, 0, Infinity),
      book.once('number', () => patternRules(anyNumber, book, [])),
      '"true"',
      '"false"',
      '"null"',
    ),
  );
}

/** Any JSON object. */
export function anyObject(book: RuleBook): Expression {
  return book.once('object', () => objectGrammar([], 'value', book));
}

class SchemaWalk {
  /** Rules of schemas that are referred to. */
  readonly #referred = new Map<string, Expression>();

  constructor(
    private readonly root: Json,
    private readonly book: RuleBook,
    private readonly rootPath: Path,
  ) {}

  expression(schema: Json | undefined, path: Path, chain: Chain): Expression {
    const node = readSchema(schema, path);
    switch (node.kind) {
      case 'anything':
        anyValue(this.book);
        anyObject(this.book);
        return 'value';
      case 'whole':
        return this.#whole(node, path, chain);
      case 'types':
        return choice(...this.#distinct(node.types).map((type) => this.#typed(type, node.keywords, path)));
      default:
        return node satisfies never;
    }
  }

  /** A number is an integer too. */
  #distinct(types: readonly JsonType[]): JsonType[] {
    return [...new Set(types)].filter((type) => type !== 'integer' || !types.includes('number'));
  }

  #whole(node: Extract<SchemaNode, { kind: 'whole' }>, path: Path, chain: Chain): Expression {
    const { keyword, value, types } = node;
    const at = [...path, keyword];
    switch (keyword) {
      case 'const':
        return this.#values([value], types, at);
      case 'enum':
        if (!isList(value)) throw invalid(at, 'must be a list of values.');
        return this.#values(value, types, at);
      case 'anyOf':
        return this.#alternatives(value, at, chain);
      case 'oneOf':
        return this.#exclusive(value, at, chain);
      case 'allOf':
        if (!isList(value) || value.length !== 1)
          throw unsupported(at, 'answers are held to a list of one schema only; merge the schemas into one.');
        return this.expression(value[0], [...at, 0], chain);
      case '$ref':
        return this.#referredTo(value, at, chain);
      default:
        return keyword satisfies never;
    }
  }

  #values(values: readonly Json[], types: readonly JsonType[] | null, path: Path): Expression {
    const meant = values.filter((value) => types === null || types.some((type) => isOfType(value, type)));
    if (meant.length === 0) throw invalid(path, 'has no value that is valid.');
    return patternRules(choiceOf(meant.map((value) => text(JSON.stringify(value)))), this.book, path);
  }

  #alternatives(value: Json, path: Path, chain: Chain): Expression {
    if (!isList(value) || value.length === 0) throw invalid(path, 'must be a list of schemas.');
    return choice(...value.map((each, index) => this.expression(each, [...path, index], chain)));
  }

  /** Of alternatives that no value has in common, any is the only one. */
  #exclusive(value: Json, path: Path, chain: Chain): Expression {
    const expression = this.#alternatives(value, path, chain);
    const kinds = (isList(value) ? value : []).map((each, index) => this.#kindsOf(each, [...path, index]));
    for (const [index, mine] of kinds.entries())
      for (const other of kinds.slice(0, index))
        if (mine.some((kind) => other.includes(kind)))
          throw unsupported(
            [...path, index],
            'a value might be valid by two of these, which answers are not held against; use anyOf, or different types or constants.',
          );
    return expression;
  }

  /** What tells values of a schema from those of others: types, and of constants the values. */
  #kindsOf(schema: Json, path: Path): readonly string[] {
    const node = readSchema(schema, path);
    if (node.kind === 'types') return node.types.map((type) => (type === 'integer' ? 'number' : type));
    if (node.kind === 'whole' && node.keyword === 'const') return [`= ${JSON.stringify(node.value)}`];
    if (node.kind === 'whole' && node.keyword === 'enum' && isList(node.value))
      return node.value.map((value) => `= ${JSON.stringify(value)}`);
    throw unsupported(path, 'below oneOf, schemas must have a type or constants of their own; use anyOf.');
  }

  #referredTo(reference: Json, path: Path, chain: Chain): Expression {
    const target = resolve(this.root, reference, path);
    const key = String(reference);
    if (chain.has(key)) throw invalid(path, `${quoted(key)} refers to itself with nothing between.`);
    const known = this.#referred.get(key);
    if (known !== undefined && chain.size === 0) return known;
    const name = known ?? this.book.reserve();
    this.#referred.set(key, name);
    const targetPath = [...this.rootPath, ...key.split('/').slice(1)];
    const expression = this.expression(target, targetPath, new Set([...chain, key]));
    if (known === undefined) this.book.define(name, expression);
    return name;
  }

  #typed(type: JsonType, keywords: JsonObject, path: Path): Expression {
    switch (type) {
      case 'object':
        return this.#object(keywords, path);
      case 'array':
        return this.#array(keywords, path);
      case 'string':
        return this.#string(keywords, path);
      case 'number':
      case 'integer':
        return this.#number(type, keywords, path);
      case 'boolean':
        return this.book.once('boolean', () => '"true" | "false"');
      case 'null':
        return this.book.once('null', () => '"null"');
      default:
        return type satisfies never;
    }
  }

  #object(keywords: JsonObject, path: Path): Expression {
    const { properties = {}, required = [], additionalProperties } = keywords;
    if (!isObject(properties)) throw invalid([...path, 'properties'], 'must be an object of schemas.');
    if (!isList(required) || !required.every((name): name is string => typeof name === 'string'))
      throw invalid([...path, 'required'], 'must be a list of names.');
    const names = Object.keys(properties);
    const isOpen = additionalProperties !== false && (additionalProperties !== undefined || names.length === 0);
    const others = isOpen
      ? this.expression(additionalProperties ?? true, [...path, 'additionalProperties'], noChain)
      : null;
    const missing = [...new Set(required)].filter((name) => !Object.hasOwn(properties, name));
    if (missing[0] !== undefined && additionalProperties === false)
      throw invalid([...path, 'required'], `${quoted(missing[0])} is required and not among the properties.`);
    const unnamed = missing.length > 0 ? (others ?? this.expression(true, path, noChain)) : nothing;
    const all: Property[] = [
      ...names.map((name) => ({
        name,
        value: this.expression(properties[name], [...path, 'properties', name], noChain),
        isRequired: required.includes(name),
      })),
      ...missing.map((name) => ({ name, value: unnamed, isRequired: true })),
    ];
    return objectGrammar(all, others, this.book);
  }

  #array(keywords: JsonObject, path: Path): Expression {
    const { prefixItems = [], items = true } = keywords;
    if (!isList(prefixItems)) throw invalid([...path, 'prefixItems'], 'must be a list of schemas.');
    if (isList(items)) throw unsupported([...path, 'items'], 'must be one schema; for a list of them use prefixItems.');
    const min = readCount(keywords, 'minItems', path) ?? 0;
    const stated = readCount(keywords, 'maxItems', path) ?? Infinity;
    const max = items === false ? Math.min(stated, prefixItems.length) : stated;
    if (min > max) throw invalid([...path, 'minItems'], 'no list is as long as it must be and as short as it may be.');
    const parts = prefixItems
      .slice(0, max === Infinity ? undefined : max)
      .map((each, index) => this.expression(each, [...path, 'prefixItems', index], noChain));
    const rest =
      max > parts.length ? this.expression(items, [...path, 'items'], noChain) : null;
    return this.#list(parts, rest, min, max);
  }

  /** Items that have a schema each, then others, from `min` to `max` in all. */
  #list(parts: readonly Expression[], rest: Expression | null, min: number, max: number): Expression {
    const ws = blank(this.book);
    const comma = sequence('","', ws);
    const restMin = Math.max(0, min - parts.length);
    const restMax = max - parts.length;
    const behind = rest === null ? nothing : repeated(sequence(comma, rest), restMin, restMax);
    const alone =
      rest === null || restMax <= 0
        ? nothing
        : optional(
            sequence(rest, repeated(sequence(comma, rest), Math.max(0, restMin - 1), restMax - 1)),
            restMin > 0,
          );
    let inside = parts.length === 0 ? alone : behind;
    for (const [index, part] of [...parts.entries()].reverse()) {
      const said = index === 0 ? sequence(part, inside) : sequence(comma, part, inside);
      inside = this.book.add(optional(said, index < min));
    }
    return this.book.add(sequence('"["', ws, inside, ws, '"]"'));
  }

  #string(keywords: JsonObject, path: Path): Expression {
    const { pattern, format } = keywords;
    const min = readCount(keywords, 'minLength', path);
    const max = readCount(keywords, 'maxLength', path);
    const given = ['pattern', 'format', min === null ? 'maxLength' : 'minLength'].filter((key) =>
      Object.hasOwn(keywords, key),
    );
    const [first, second] = given;
    if (second !== undefined)
      throw unsupported([...path, second], `answers are not held to ${quoted(second)} beside ${quoted(first ?? '')}.`);
    if (format !== undefined) return this.#formatted(format, [...path, 'format']);
    if (pattern !== undefined) {
      if (typeof pattern !== 'string') throw invalid([...path, 'pattern'], 'must be a text.');
      const at = [...path, 'pattern'];
      const inside = matching(pattern, { path: at, form: jsonForm, isWhole: false });
      return patternRules(inQuotes(inside), this.book, at);
    }
    if ((min ?? 0) > (max ?? Infinity)) throw invalid([...path, 'minLength'], 'must not be above maxLength.');
    return plainString(this.book, min ?? 0, max ?? Infinity);
  }

  #formatted(format: Json, path: Path): Expression {
    const source = typeof format === 'string' ? stringFormats.get(format) : undefined;
    if (source === undefined)
      throw unsupported(
        path,
        `answers are held to the formats ${[...stringFormats.keys()].join(', ')}; ${quoted(JSON.stringify(format))} is none of them.`,
      );
    return this.book.once(`format-${String(format)}`, () =>
      patternRules(inQuotes(matching(source, { path, form: jsonForm, isWhole: true })), this.book, path),
    );
  }

  #number(type: 'number' | 'integer', keywords: JsonObject, path: Path): Expression {
    const bounds = this.#bounds(keywords, path, type);
    if (bounds === null)
      return this.book.once(type, () =>
        patternRules(type === 'number' ? anyNumber : anyInteger, this.book, path),
      );
    const pattern = type === 'integer' ? integerGrammar(bounds) : numberGrammar(bounds);
    if (pattern === null) throw invalid(path, `no ${type} is within these bounds.`);
    return patternRules(pattern, this.book, path);
  }

  #bounds(keywords: JsonObject, path: Path, type: 'number' | 'integer'): NumberBounds | null {
    const read = (key: string): number | null => {
      const value = keywords[key];
      if (value === undefined) return null;
      if (typeof value !== 'number') throw invalid([...path, key], 'must be a number.');
      if (type === 'integer' ? Math.abs(value) >= 1e15 : !isPlainBound(value))
        throw unsupported(
          [...path, key],
          type === 'integer'
            ? 'must have at most 15 digits.'
            : 'must have at most nine digits before the point and six behind it.',
        );
      return value;
    };
    const [minimum, above, maximum, below] = ['minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum'].map(read);
    const isAboveLeast = above != null && (minimum == null || above >= minimum);
    const isBelowMost = below != null && (maximum == null || below <= maximum);
    const least = (isAboveLeast ? above : minimum) ?? null;
    const most = (isBelowMost ? below : maximum) ?? null;
    return least === null && most === null ? null : { least, isAboveLeast, most, isBelowMost };
  }
}

function optional(expression: Expression, isRequired: boolean): Expression {
  return isRequired || expression === nothing ? expression : choice(nothing, expression);
}

function listOf(item: Expression, book: RuleBook): Expression {
  const ws = blank(book);
  return sequence('"["', ws, `(${item} ("," ${ws} ${item})*)?`, ws, '"]"');
}

const hex = anyOf(
  characterSet([
    [0x30, 0x39],
    [0x41, 0x46],
    [0x61, 0x66],
  ]),
);
/** A character of a string. No escape says half of a surrogate pair, so that each escape is one character. */
const character: Pattern = choiceOf([
  anyOf(unescaped),
  sequenceOf([
    text('\\'),
    choiceOf([
      anyOf(charactersOf('"\\/bfnrt')),
      sequenceOf([text('u'), anyOf(charactersOf('0123456789abcefABCEF')), times(hex, 3, 3)]),
      sequenceOf([text('u'), anyOf(charactersOf('dD')), anyOf(charactersOf('01234567')), times(hex, 2, 2)]),
    ]),
  ]),
]);

/**
 * Strings up to so many characters have rules for each: then masks are known beforehand, which else are looked for token by
 * token (docs/performance.md). Longer ones would take as long to compile.
 */
const countedByStates = 64;

function inQuotes(pattern: Pattern): Pattern {
  return sequenceOf([text('"'), pattern, text('"')]);
}

/** A string of so many characters. */
function plainString(book: RuleBook, min: number, max: number): Expression {
  if (min === 0 && max === Infinity)
    return book.once('string', () => patternRules(inQuotes(times(character, 0, Infinity)), book, []));
  if (Math.max(min, max === Infinity ? 0 : max) <= countedByStates)
    return book.once(`string-${min}-${max}`, () =>
      patternRules(inQuotes(times(character, min, max)), book, []),
    );
  const one = book.once('char', () => patternRules(character, book, []));
  return book.add(sequence(quoteMark, repeated(one, min, Math.min(max, limits.repetitionsMax)), quoteMark));
}

function isOfType(value: Json, type: JsonType): boolean {
  switch (type) {
    case 'object':
      return isObject(value);
    case 'array':
      return isList(value);
    case 'null':
      return value === null;
    case 'integer':
      return typeof value === 'number' && Number.isInteger(value);
    case 'string':
    case 'number':
    case 'boolean':
      return typeof value === type;
    default:
      return type satisfies never;
  }
}
