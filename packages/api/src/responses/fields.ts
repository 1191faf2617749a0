import { limits } from '@butterfly/common';
import { z } from 'zod';
import { honoured, isAbsent, pickFields, refused, refusedFor, withoutEffect } from '../fields/field-kinds.js';
import type { Fields } from '../fields/field-kinds.js';
import { boundedList, countParts } from '../fields/values.js';
import { chatFields, sharedFields } from '../openai/fields.js';
import { toolChoice } from './tools.js';

const { model, service_tier, prompt_cache_retention } = sharedFields;

/** Those of chats that count here too. */
const samplingFields = pickFields(sharedFields, [
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'seed',
  'stop',
  'presence_penalty',
  'frequency_penalty',
  'repeat_penalty',
  'typical_p',
  'xtc_probability',
  'xtc_threshold',
  'repeat_last_n',
  'dry_multiplier',
  'dry_base',
  'dry_allowed_length',
  'dry_penalty_last_n',
  'dry_sequence_breakers',
  'logit_bias',
  'priority',
  'timeout_ms',
  'ignore_eos',
  'stream',
]);

const format = z.discriminatedUnion(
  'type',
  [
    z.looseObject({ type: z.literal('text') }),
    z.looseObject({ type: z.literal('json_object') }),
    z.looseObject({
      type: z.literal('json_schema'),
      name: z.string(),
      description: z.string().nullish(),
      schema: z.record(z.string(), z.unknown()),
      strict: z.boolean().nullish(),
    }),
  ],
  { error: 'expected an object with a type of "text", "json_object" or "json_schema"' },
);

/** Thoughts in a form in which clients that keep no conversation here send them back. */
export const sealedReasoning = 'reasoning.encrypted_content';

/** What OpenAI's hosted tools would add; as these are not here, nothing is left out. */
const idleIncludes = [
  'file_search_call.results',
  'web_search_call.results',
  'web_search_call.action.sources',
  'message.input_image.image_url',
  'computer_call_output.output.image_url',
  'code_interpreter_call.outputs',
];

const includes = z.array(
  z.string().refine((name) => name === sealedReasoning || idleIncludes.includes(name), {
    params: { unsupported: true },
    error: `not supported; send only ${[sealedReasoning, ...idleIncludes].join(', ')}, or leave it out`,
  }),
);

const someString = z.string();

/** `/v1/responses`. The table of docs/api.md says the same, and a test holds it to this. */
export const responseFields = {
  model,
  input: honoured(
    z.union([z.string(), boundedList(z.unknown(), limits.messagePartsMax, countParts)], {
      error: `expected a string or an array of at most ${limits.messagePartsMax} items and parts`,
    }),
    'text, or items; see below',
    'required',
  ),
  instructions: honoured(someString, 'text, before all that was said', 'none'),
  previous_response_id: honoured(someString, 'the id of a response that is kept', 'none'),
  background: honoured(z.boolean(), '`true`: answers at once, and goes on; ask for it by its id', '`false`'),
  store: honoured(z.boolean(), '`true`, `false`: whether it is kept', '`true`'),
  tools: honoured(
    boundedList(z.unknown(), limits.toolsMax),
    `up to ${limits.toolsMax.toLocaleString('en')}; functions are taken, other kinds skipped and named`,
    'none',
  ),
  tool_choice: honoured(
    toolChoice,
    '`"auto"`, `"none"`, `"required"`, `{"type": "function", "name": …}`, `{"type": "allowed_tools", …}`',
    '`"auto"`',
  ),
  parallel_tool_calls: honoured(z.boolean(), '`true`, `false`', '`true`'),
  text: honoured(
    z.looseObject({ format: format.nullish(), verbosity: someString.nullish() }),
    '`{"format": {"type": …}}` with `text`, `json_object` or `json_schema`',
    'text',
  ),
  reasoning: honoured(
    z.looseObject({ effort: someString.nullish() }),
    '`{"effort": …}`, where the template of the model knows it',
    'as the model does',
  ),
  max_output_tokens: honoured(
    chatFields.max_tokens.schema,
    chatFields.max_tokens.values,
    'the rest of the context',
  ),
  ...samplingFields,
  include: honoured(
    includes,
    `\`["${sealedReasoning}"]\`; what hosted tools would add, which adds nothing`,
    'none',
  ),
  metadata: honoured(
    z
      .record(
        z.string().max(limits.metadataNameCharactersMax),
        z.string().max(limits.metadataValueCharactersMax),
      )
      .refine((pairs) => Object.keys(pairs).length <= limits.metadataPairsMax, {
        error: `at most ${limits.metadataPairsMax} pairs are allowed`,
      }),
    `up to ${limits.metadataPairsMax} pairs of text, given back`,
    'none',
  ),
  user: honoured(someString, 'text, given back', 'none'),
  safety_identifier: honoured(someString, 'text, given back', 'none'),
  prompt_cache_key: honoured(someString, 'text, given back', 'none'),

  stream_options: withoutEffect(z.looseObject({ include_obfuscation: z.boolean().nullish() })),
  service_tier,
  prompt_cache_retention,
  prompt_cache_options: withoutEffect(),
  client_metadata: withoutEffect(),
  max_tool_calls: withoutEffect(z.number()),

  truncation: refusedFor('shorten the input', '"disabled"'),
  top_logprobs: refused('0'),
  conversation: refusedFor('use previous_response_id'),
  prompt: refusedFor('send its text as instructions'),
  context_management: refused('[]'),
  moderation: refused(),
} satisfies Fields;

const readOfText: readonly string[] = ['format'];
const readOfReasoning: readonly string[] = ['effort'];

/** The fields inside `text` and `reasoning` that change nothing, as `reasoning.summary`; unknown ones too. */
export function innerNamesWithoutEffect(
  text: object | null | undefined,
  reasoning: object | null | undefined,
  shown: (name: string) => string,
): string[] {
  const others = (owner: string, fields: object | null | undefined, read: readonly string[]) =>
    Object.entries(fields ?? {})
      .slice(0, limits.fieldsReportedMax + 1)
      .flatMap(([name, value]) =>
        read.includes(name) || isAbsent(value) ? [] : [`${owner}.${shown(name)}`],
      );
  return [...others('text', text, readOfText), ...others('reasoning', reasoning, readOfReasoning)];
}
