import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import type { OpenAIObjects } from './objects.js';

interface Schema {
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly $ref?: string;
  readonly definitions?: Readonly<Record<string, Schema>>;
}

/** Where what we send differs from the types, as OpenAI's own answers do or because clients act on it. */
interface Exception {
  readonly definition: string;
  readonly reason: string;
  readonly allow: (schema: Schema) => Schema;
}

const orNull = (schema: Schema | undefined): Schema => ({
  anyOf: [schema ?? {}, { type: 'null' } as Schema],
});
const withProperty = (
  schema: Schema,
  name: string,
  change: (property: Schema | undefined) => Schema,
): Schema => ({
  ...schema,
  properties: { ...schema.properties, [name]: change(schema.properties?.[name]) },
});

export const exceptions: readonly Exception[] = [
  {
    definition: 'Model',
    reason: 'clients are told of the context and of sizes as vLLM and llama-server tell them',
    allow: (schema) =>
      ['max_model_len', 'context_length', 'capabilities', 'quantization', 'meta'].reduce(
        (allowed, name) => withProperty(allowed, name, () => ({})),
        schema,
      ),
  },
  {
    definition: 'Response',
    reason: 'the client itself puts output_text together',
    allow: (schema) => ({
      ...schema,
      required: schema.required?.filter((name) => name !== 'output_text') ?? [],
    }),
  },
  {
    definition: 'ResponseError',
    reason: 'agents shorten their history at context_length_exceeded, which OpenAI sends and the type lacks',
    allow: (schema) =>
      withProperty(schema, 'code', (code) => ({
        ...code,
        enum: [...(code?.enum ?? []), 'context_length_exceeded'],
      })),
  },
  {
    definition: 'ResponseItemList',
    reason: 'an empty page has no first and no last item',
    allow: (schema) => withProperty(withProperty(schema, 'first_id', orNull), 'last_id', orNull),
  },
  {
    definition: 'CompletionChoice',
    reason: 'a stream has null until the end, where OpenAI sends it so too',
    allow: (schema) => withProperty(schema, 'finish_reason', orNull),
  },
  {
    definition: 'Completion',
    reason: 'with include_usage a stream has null until the end',
    allow: (schema) => withProperty(schema, 'usage', orNull),
  },
  {
    definition: 'ChatCompletionMessage',
    reason: 'what a model thinks has no place in the type; others send it under this name',
    allow: (schema) => withProperty(schema, 'reasoning_content', () => ({ type: 'string' }) as Schema),
  },
  {
    definition: 'ChatCompletionChunk.Choice.Delta',
    reason: 'as in messages',
    allow: (schema) => withProperty(schema, 'reasoning_content', () => ({ type: 'string' }) as Schema),
  },
];

export const schemaFile = new URL('./openai.schema.json', import.meta.url);

let loaded: { readonly ajv: Ajv; readonly definitions: Readonly<Record<string, Schema>> } | null = null;

function schemas() {
  if (loaded) return loaded;
  const whole = JSON.parse(readFileSync(schemaFile, 'utf8')) as Schema;
  const definitions: Record<string, Schema> = { ...whole.definitions };
  for (const { definition, allow } of exceptions) {
    const schema = definitions[definition];
    if (schema === undefined) throw new Error(`There is no type ${definition} any more; drop its exception.`);
    definitions[definition] = allow(schema);
  }
  // Unions of types in one schema are no mistake of a generated one.
  const ajv = new Ajv({ allErrors: true, strict: false });
  ajv.addSchema({ ...whole, definitions }, 'openai');
  return (loaded = { ajv, definitions });
}

const validators = new Map<string, ValidateFunction>();

function validatorOf(definition: string): ValidateFunction {
  const known = validators.get(definition);
  if (known) return known;
  const made = schemas().ajv.compile({ $ref: `openai#/definitions/${definition}` });
  validators.set(definition, made);
  return made;
}

/** The definition of what an object says that it is; unions told apart by `type` would else give the errors of each. */
function definitionOf(kind: keyof OpenAIObjects, value: unknown): string {
  const { definitions } = schemas();
  const nameIn = (schema: Schema | undefined) => schema?.$ref?.replace('#/definitions/', '') ?? '';
  const name = nameIn(definitions.OpenAIObjects?.properties?.[kind]);
  const types = definitions[name]?.anyOf?.map(nameIn);
  if (types === undefined) return name;
  const { type } = value as { readonly type?: unknown };
  return types.find((each) => definitions[each]?.properties?.type?.const === type) ?? name;
}

/** What is wrong with an object by the types of the official package; empty where it is right. */
export function conformanceErrors(kind: keyof OpenAIObjects, value: unknown): readonly string[] {
  const validate = validatorOf(definitionOf(kind, value));
  if (validate(value)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message ?? ''} ${JSON.stringify(params)}`,
  );
}
