import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import { type Schema, exceptions } from './exceptions.js';
import { dialects, schemaFile } from './dialects.js';
import type { AnthropicObjects, OllamaObjects, OpenAIObjects } from './objects.js';

type Dialect = keyof typeof dialects;
/** All that this API sends, in any dialect. */
type Objects = OpenAIObjects & AnthropicObjects & OllamaObjects;

type Definitions = Readonly<Record<string, Schema>>;

/** The definitions of a dialect's file, with its exceptions. */
function load(dialect: Dialect): {
  readonly dialect: Dialect;
  readonly ajv: Ajv;
  readonly definitions: Definitions;
} {
  const whole = JSON.parse(readFileSync(schemaFile(dialect), 'utf8')) as Schema;
  const definitions: Record<string, Schema> = { ...whole.definitions };
  for (const { definition, allow } of exceptions[dialect]) {
    const schema = definitions[definition];
    if (schema === undefined) throw new Error(`There is no type ${definition} any more; drop its exception.`);
    definitions[definition] = allow(schema);
  }
  // Unions of types in one schema are no mistake of a generated one; dates are texts on the wire.
  const ajv = new Ajv({ allErrors: true, strict: false, formats: { 'date-time': isDate } });
  ajv.addSchema({ ...whole, definitions }, dialect);
  return { dialect, ajv, definitions };
}

const isDate = (text: string): boolean => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/u.test(text);

let loaded: readonly ReturnType<typeof load>[] | null = null;
const allLoaded = () => (loaded ??= (Object.keys(dialects) as Dialect[]).map(load));

const validators = new Map<string, ValidateFunction>();

function validatorOf(kind: keyof Objects, value: unknown): ValidateFunction {
  for (const { dialect, ajv, definitions } of allLoaded()) {
    const root = definitions[dialects[dialect]]?.properties?.[kind];
    if (root === undefined) continue;
    const id = `${dialect}#/definitions/${definitionOf(definitions, root, value)}`;
    const known = validators.get(id) ?? ajv.compile({ $ref: id });
    validators.set(id, known);
    return known;
  }
  throw new Error(`No dialect has ${kind}; write its schemas with -u.`);
}

const nameIn = (schema: Schema): string => schema.$ref?.replace('#/definitions/', '') ?? '';

/** The definition of what an object says that it is; unions told apart by `type` would else give the errors of each. */
function definitionOf(definitions: Definitions, root: Schema, value: unknown): string {
  const name = nameIn(root);
  const types = definitions[name]?.anyOf?.map(nameIn);
  if (types === undefined) return name;
  const { type } = value as { readonly type?: unknown };
  return types.find((each) => definitions[each]?.properties?.type?.const === type) ?? name;
}

/** What is wrong with an object by the types of the official package; empty where it is right. */
export function conformanceErrors(kind: keyof Objects, value: unknown): readonly string[] {
  const validate = validatorOf(kind, value);
  if (validate(value)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message ?? ''} ${JSON.stringify(params)}`,
  );
}
