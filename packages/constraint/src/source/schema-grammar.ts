import { limits } from '@butterfly/common';
import type { Json, JsonObject, Path } from './constraint.js';
import { choice, nothing, repeated, sequence, type Expression, type RuleBook } from './grammar-text.js';
import {
  anyInteger,
  anyNumber,
  integerGrammar,
  isPlainBound,
  numberGrammar,
  type NumberBounds,
} from './number-grammar.js';
import { blank, objectGrammar, type Property } from './object-grammar.js';
import { choiceOf, text } from './pattern.js';
import { patternRules } from './pattern-rules.js';
import { invalid, quoted, unsupported } from './refusals.js';
import {
  checkSize,
  isList,
  isObject,
  readCount,
  readSchema,
  resolve,
  type JsonType,
  type SchemaNode,
} from './schema-node.js';
import { formattedString, matchingString, plainString } from './string-grammar.js';

/**
 * JSON that is valid by a schema (draft 2020-12, or an older one as far as they agree). What is allowed may be less than
 * what is valid: properties come in the order of the schema, once each, and an object that names properties and does not
 * speak of others has no others.
 * @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED with the path of the keyword that answers cannot be held to
 */
export function schemaGrammar(schema: Json, book: RuleBook, path: Path): Expression {
  checkSize(schema, path);
  return new SchemaWalk(schema, book, path).expression(schema, path);
}

/** The same of parts of one schema, whose references lead into the whole of it. */
export function partGrammars(
  schema: Json,
  book: RuleBook,
  path: Path,
): (part: Json | undefined, at: Path) => Expression {
  checkSize(schema, path);
  return (part, at) => new SchemaWalk(schema, book, path).expression(part, at);
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
  return book.once('object', () => objectGrammar([], 'value', book, []));
}

class SchemaWalk {
  /** Rules of schemas that are referred to. */
  readonly #referred = new Map<string, Expression>();
  /** References that do not lead back to themselves with no value between. */
  readonly #ending = new Set<string>();
  #depth = 0;

  constructor(
    private readonly root: Json,
    private readonly book: RuleBook,
    private readonly rootPath: Path,
  ) {}

  expression(schema: Json | undefined, path: Path): Expression {
    const node = readSchema(schema, path);
    switch (node.kind) {
      case 'anything':
        anyValue(this.book);
        anyObject(this.book);
        return 'value';
      case 'whole':
        return this.#whole(node, path);
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

  #whole(node: Extract<SchemaNode, { kind: 'whole' }>, path: Path): Expression {
    const { keyword, value, types } = node;
    const at = [...path, keyword];
    switch (keyword) {
      case 'const':
        return this.#values([value], types, at);
      case 'enum':
        if (!isList(value)) throw invalid(at, 'must be a list of values.');
        return this.#values(value, types, at);
      case 'anyOf':
        return this.#alternatives(value, at);
      case 'oneOf':
        return this.#exclusive(value, at);
      case 'allOf':
        if (!isList(value) || value.length !== 1)
          throw unsupported(at, 'answers are held to a list of one schema only; merge the schemas into one.');
        return this.expression(value[0], [...at, 0]);
      case '$ref':
        return this.#referredTo(value, at);
      default:
        return keyword satisfies never;
    }
  }

  #values(values: readonly Json[], types: readonly JsonType[] | null, path: Path): Expression {
    const meant = values.filter((value) => types === null || types.some((type) => isOfType(value, type)));
    if (meant.length === 0) throw invalid(path, 'has no value that is valid.');
    return patternRules(choiceOf(meant.map((value) => text(JSON.stringify(value)))), this.book, path);
  }

  #alternatives(value: Json, path: Path): Expression {
    if (!isList(value) || value.length === 0) throw invalid(path, 'must be a list of schemas.');
    return choice(...value.map((each, index) => this.expression(each, [...path, index])));
  }

  /** Of alternatives that no value has in common, any is the only one. */
  #exclusive(value: Json, path: Path): Expression {
    const expression = this.#alternatives(value, path);
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

  #referredTo(reference: Json, path: Path): Expression {
    if (typeof reference !== 'string') throw invalid(path, 'must be a text.');
    const known = this.#referred.get(reference);
    if (known !== undefined) return known;
    const target = resolve(this.root, reference, path);
    this.#checkEnds(reference, target, path);
    const name = this.book.reserve();
    this.#referred.set(reference, name);
    if (++this.#depth > limits.constraintDepthMax)
      throw unsupported(path, `references lead through more than ${limits.constraintDepthMax} others.`);
    const targetPath = [...this.rootPath, ...reference.split('/').slice(1)];
    this.book.define(name, this.expression(target, targetPath));
    this.#depth--;
    return name;
  }

  /** References that lead back to themselves with no value between say nothing. */
  #checkEnds(reference: string, target: Json, path: Path, open: readonly string[] = []): void {
    if (this.#ending.has(reference)) return;
    if (open.includes(reference))
      throw invalid(path, `${quoted(reference)} refers to itself with nothing between.`);
    if (open.length > limits.constraintDepthMax)
      throw unsupported(path, `references lead through more than ${limits.constraintDepthMax} others.`);
    for (const next of referencesOf(target))
      this.#checkEnds(next, resolve(this.root, next, path), path, [...open, reference]);
    this.#ending.add(reference);
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
    const isOpen =
      additionalProperties !== false && (additionalProperties !== undefined || names.length === 0);
    const others = isOpen
      ? this.expression(additionalProperties ?? true, [...path, 'additionalProperties'])
      : null;
    const missing = [...new Set(required)].filter((name) => !Object.hasOwn(properties, name));
    if (missing[0] !== undefined && additionalProperties === false)
      throw invalid([...path, 'required'], `${quoted(missing[0])} is required and not among the properties.`);
    const unnamed = missing.length > 0 ? (others ?? this.expression(true, path)) : nothing;
    const all: Property[] = [
      ...names.map((name) => ({
        name,
        value: this.expression(properties[name], [...path, 'properties', name]),
        isRequired: required.includes(name),
      })),
      ...missing.map((name) => ({ name, value: unnamed, isRequired: true })),
    ];
    return objectGrammar(all, others, this.book, path);
  }

  #array(keywords: JsonObject, path: Path): Expression {
    const { prefixItems = [], items = true } = keywords;
    if (!isList(prefixItems)) throw invalid([...path, 'prefixItems'], 'must be a list of schemas.');
    if (isList(items))
      throw unsupported([...path, 'items'], 'must be one schema; for a list of them use prefixItems.');
    const min = readCount(keywords, 'minItems', path) ?? 0;
    const stated = readCount(keywords, 'maxItems', path) ?? Infinity;
    const max = items === false ? Math.min(stated, prefixItems.length) : stated;
    if (min > max)
      throw invalid([...path, 'minItems'], 'no list is as long as it must be and as short as it may be.');
    const parts = prefixItems
      .slice(0, max === Infinity ? undefined : max)
      .map((each, index) => this.expression(each, [...path, 'prefixItems', index]));
    const rest = max > parts.length ? this.expression(items, [...path, 'items']) : null;
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
      throw unsupported(
        [...path, second],
        `answers are not held to ${quoted(second)} beside ${quoted(first ?? '')}.`,
      );
    if (format !== undefined) return formattedString(format, this.book, [...path, 'format']);
    if (pattern !== undefined) {
      if (typeof pattern !== 'string') throw invalid([...path, 'pattern'], 'must be a text.');
      return matchingString(pattern, this.book, [...path, 'pattern']);
    }
    if ((min ?? 0) > (max ?? Infinity)) throw invalid([...path, 'minLength'], 'must not be above maxLength.');
    return plainString(this.book, min ?? 0, max ?? Infinity);
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
    const [minimum, above, maximum, below] = [
      'minimum',
      'exclusiveMinimum',
      'maximum',
      'exclusiveMaximum',
    ].map(read);
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

/** What a schema refers to in the place of itself. */
function referencesOf(schema: Json): readonly string[] {
  if (!isObject(schema)) return [];
  const alternatives = [schema.anyOf, schema.oneOf, schema.allOf].flatMap((each) =>
    isList(each) ? each : [],
  );
  const own = typeof schema.$ref === 'string' ? [schema.$ref] : [];
  return [...own, ...alternatives.flatMap(referencesOf)];
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
