import { charactersOf, difference, everyCharacter } from '../automata/character-set.js';
import type { Json, JsonObject, Marker, Path, TaggedArguments } from './constraint.js';
import {
  choice,
  literal,
  nothing,
  repeated,
  sequence,
  type Expression,
  type RuleBook,
} from './grammar-text.js';
import { choiceOf, text } from './pattern.js';
import { patternRules } from './pattern-rules.js';
import { invalid, quoted, unsupported } from './refusals.js';
import { holdsMarkerEnds, plainForm } from './regex-grammar.js';
import { anyValue, partGrammars } from './schema-grammar.js';
import { isList, isObject, readSchema } from './schema-node.js';
import { textOf } from './tags-grammar.js';

/** What text is held to: any other keyword of a text has nothing to do with its characters. */
const heldOfTexts = ['pattern', 'format', 'minLength', 'maxLength'];

/**
 * Arguments between tags, in the order of the schema, each once. Texts stand as they are and end where their tag does;
 * all else is JSON.
 * @throws ButterflyError REQUEST_INVALID, REQUEST_UNSUPPORTED
 */
export function taggedGrammar(tagged: TaggedArguments, book: RuleBook, path: Path): Expression {
  const { properties, required } = objectOf(tagged, path);
  const json = partGrammars(tagged.schema, book, path);
  const free = unlike(tagged.afterValue, book, path);
  const values = (schema: Json | undefined, at: Path): Expression => {
    const form = argumentForm(schema);
    const [exact, any] =
      form === 'json'
        ? [() => json(schema, at), () => anyValue(book)]
        : [() => textValue(schema, { free, tagged, book, at }), () => free];
    return tagged.isLenient ? book.attempt(exact, any) : exact();
  };
  const pairs = Object.entries(properties).map(([name, schema]) => {
    const pair = argument(tagged, name, values(schema, [...path, 'properties', name]), path);
    return required.includes(name) ? book.add(pair) : repeated(book.add(pair), 0, 1);
  });
  return pairs.length === 0 ? nothing : book.add(sequence(...pairs));
}

/** Leniently, what is no object of properties has no arguments. */
function objectOf(
  { schema, isLenient }: TaggedArguments,
  path: Path,
): { readonly properties: JsonObject; readonly required: readonly Json[] } {
  if (!isLenient) {
    const node = readSchema(schema, path);
    if (node.kind === 'whole' || (node.kind === 'types' && !node.types.includes('object')))
      throw unsupported(path, 'arguments between tags are held to the properties of an object alone.');
  }
  const given: JsonObject = isObject(schema) ? schema : {};
  const { properties = {}, required = [] } = given;
  if (!isObject(properties)) throw invalid([...path, 'properties'], 'must be an object of schemas.');
  if (!isList(required)) throw invalid([...path, 'required'], 'must be a list of names.');
  const missing = required.find((name) => typeof name !== 'string' || !Object.hasOwn(properties, name));
  if (missing !== undefined && !isLenient)
    throw unsupported([...path, 'required'], 'names what is not among the properties.');
  return { properties, required };
}

function argument(
  { beforeKey, afterKey, afterValue, isOnOwnLine }: TaggedArguments,
  name: string,
  value: Expression,
  path: Path,
): Expression {
  if (holdsMarkerEnds(name)) throw invalid([...path, 'properties'], 'must not hold the characters 1 or 2.');
  const line = isOnOwnLine ? literal('\n') : nothing;
  const maybeLine = repeated(literal('\n'), 0, 1);
  const marks = afterKey.map((mark) => literal(textOf(mark, path)));
  const between = marks.flatMap((mark, index) => (index === 0 ? [mark] : [maybeLine, mark]));
  return sequence(
    literal(textOf(beforeKey, path) + name),
    ...between,
    line,
    value,
    line,
    literal(textOf(afterValue, path)),
    maybeLine,
  );
}

/** How an argument between tags is written: as text, as text or a null, or as JSON, which may be text where it is none. */
export type ArgumentForm = 'text' | 'nullableText' | 'json';

/**
 * Whoever reads arguments and whoever holds them to their schema must agree on it.
 * @param schema of the argument
 */
export function argumentForm(schema: unknown): ArgumentForm {
  if (typeof schema !== 'object' || schema === null) return 'json';
  if ('type' in schema) return formOfTypes(Array.isArray(schema.type) ? schema.type : [schema.type]);
  if ('anyOf' in schema && Array.isArray(schema.anyOf)) return formOfTypes(schema.anyOf.map(typeOf));
  const values = 'enum' in schema ? schema.enum : 'const' in schema ? [schema.const] : null;
  return Array.isArray(values) && values.every((value) => typeof value === 'string') ? 'text' : 'json';
}

function formOfTypes(types: readonly unknown[]): ArgumentForm {
  if (!types.every((type) => type === 'string' || type === 'null') || !types.includes('string'))
    return 'json';
  return types.includes('null') ? 'nullableText' : 'text';
}

const typeOf = (schema: unknown): unknown =>
  typeof schema === 'object' && schema !== null && 'type' in schema ? schema.type : null;

interface TextPlace {
  readonly free: Expression;
  readonly tagged: TaggedArguments;
  readonly book: RuleBook;
  readonly at: Path;
}

/** @throws ButterflyError REQUEST_UNSUPPORTED for what texts between tags are not held to */
function textValue(schema: Json | undefined, { free, tagged, book, at }: TextPlace): Expression {
  if (!isObject(schema)) return free;
  readSchema(schema, at);
  const keyword = heldOfTexts.find((key) => Object.hasOwn(schema, key));
  if (keyword !== undefined)
    throw unsupported(
      [...at, keyword],
      `texts that this model writes between tags are held to constants alone, and not to ${quoted(keyword)}.`,
    );
  const constants = isList(schema.enum) ? schema.enum : 'const' in schema ? [schema.const ?? null] : null;
  if (constants === null) return free;
  const end = textOf(tagged.afterValue, at);
  const texts = constants.filter((value) => typeof value === 'string');
  if (texts.length === 0 || texts.some((each) => holdsMarkerEnds(each) || each.includes(end)))
    throw unsupported(at, 'has a constant that cannot stand between tags.');
  return patternRules(choiceOf(texts.map((each) => text(each))), book, at);
}

/**
 * Any text that does not hold the end of its tag: a rule for each beginning of that end, as in the algorithm of Knuth, Morris
 * and Pratt. Where the end is a special token, no text holds it.
 */
function unlike(end: Marker, book: RuleBook, path: Path): Expression {
  const [first] = end;
  const sought = typeof first === 'string' ? Array.from(first) : [];
  const distinct = [...new Set(sought)];
  const other = patternRules(
    plainForm(difference(everyCharacter, charactersOf(distinct.join('')))),
    book,
    path,
  );
  const states = sought.length === 0 ? [book.reserve()] : sought.map(() => book.reserve());
  for (const [state, name] of states.entries()) {
    const ways = distinct.flatMap((character) => {
      const next = overlap(sought, [...sought.slice(0, state), character]);
      return next === sought.length ? [] : [sequence(literal(character), states[next] ?? nothing)];
    });
    book.define(name, choice(nothing, ...ways, sequence(other, states[0] ?? nothing)));
  }
  return states[0] ?? nothing;
}

/** How much of a row's beginning these characters end with. */
function overlap(sought: readonly string[], said: readonly string[]): number {
  for (let length = Math.min(sought.length, said.length); length > 0; length--)
    if (sought.slice(0, length).every((character, index) => character === said[said.length - length + index]))
      return length;
  return 0;
}
