/** A part of a JSON schema that was made of a type. */
export interface Schema {
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly $ref?: string;
  readonly definitions?: Readonly<Record<string, Schema>>;
}

/** Where what we send differs from the types, as the dialect's own servers do or because clients act on it. */
export interface Exception {
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
const without = (schema: Schema, ...names: readonly string[]): Schema => ({
  ...schema,
  required: schema.required?.filter((name) => !names.includes(name)) ?? [],
});
const withWord = (schema: Schema, name: string, word: string): Schema =>
  withProperty(schema, name, (property) => ({ ...property, enum: [...(property?.enum ?? []), word] }));
const numbersOfTheEnd = [
  'done_reason',
  'total_duration',
  'load_duration',
  'prompt_eval_count',
  'prompt_eval_duration',
  'eval_count',
  'eval_duration',
];

const openai: readonly Exception[] = [
  {
    definition: 'Model',
    reason: 'clients are told of the context and of sizes as vLLM and llama-server tell them',
    allow: (schema) =>
      ['max_model_len', 'context_length', 'capabilities', 'quantization', 'status', 'meta'].reduce(
        (allowed, name) => withProperty(allowed, name, () => ({})),
        schema,
      ),
  },
  {
    definition: 'Response',
    reason: 'the client itself puts output_text together',
    allow: (schema) => without(schema, 'output_text'),
  },
  {
    definition: 'ResponseError',
    reason: 'agents shorten their history at context_length_exceeded, which OpenAI sends and the type lacks',
    allow: (schema) => withWord(schema, 'code', 'context_length_exceeded'),
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

const anthropic: readonly Exception[] = [
  {
    definition: 'InvalidRequestErrorObject',
    reason: 'a body that is too large is request_too_large in the documentation, which the types lack',
    allow: (schema) =>
      withProperty(schema, 'type', () => ({ enum: ['invalid_request_error', 'request_too_large'] })),
  },
];

const ollama: readonly Exception[] = [
  {
    definition: 'OllamaChat',
    reason: 'only the end of an answer has numbers, and a model that is only loaded has none',
    allow: (schema) => without(schema, ...numbersOfTheEnd),
  },
  {
    definition: 'OllamaText',
    reason: 'as chats; and there are no token ids of Ollama to go on from',
    allow: (schema) => without(schema, ...numbersOfTheEnd, 'context'),
  },
  {
    definition: 'OllamaModel',
    reason: 'Ollama leaves out the words of a model that has none, and a Map is an object in JSON',
    allow: (schema) =>
      withProperty(without(schema, 'system', 'messages'), 'model_info', () => ({ type: 'object' }) as Schema),
  },
  {
    definition: 'OllamaModels',
    reason: 'only /api/ps tells how long a model stays and what it takes, with the context that it has there',
    allow: (schema) =>
      withProperty(schema, 'models', (models) => ({
        ...models,
        items: without(
          withProperty(models?.items ?? {}, 'context_length', () => ({ type: 'number' }) as Schema),
          'expires_at',
          'size_vram',
        ),
      })),
  },
];

/** By dialect, of the definitions in its schema file. */
export const exceptions = { openai, anthropic, ollama };
