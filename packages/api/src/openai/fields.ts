import { deadlines, limits } from '@butterfly/common';
import { z } from 'zod';
import { honoured, refused, refusedFor, withoutEffect } from '../fields/field-kinds.js';
import { toolChoice, toolList } from './chat-tools.js';
import { responseFormat } from './response-format.js';
import { boundedList, countParts, stopString, wholeNumber } from '../fields/values.js';
import { chatMessage } from './chat-messages.js';

const someText = withoutEffect(z.string());

const outputTokensFrom = (least: number, further: string, fallback: string) =>
  honoured(
    wholeNumber(
      (value) => value >= least || value === -1,
      `expected at least ${least}, or -1 for what there is room for`,
    ),
    `at least ${least}${further}; -1 and more than there is room for: as much as there is room for`,
    fallback,
  );
const outputTokens = outputTokensFrom(1, '', 'the rest of the context');

const penalty = honoured(z.number().min(-2).max(2), '-2 to 2', '0');

const dryBreaker = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= limits.dryBreakerBytesMax && !/\p{Surrogate}/u.test(text), {
    error: `expected text of at most ${limits.dryBreakerBytesMax} bytes`,
  });

/** What both endpoints know. The tables of docs/api.md say the same, and a test holds them to this. */
export const sharedFields = {
  model: honoured(z.string(), 'the id of the model', 'the model that is served'),
  temperature: honoured(z.number().min(0).max(2), '0 to 2; 0 is greedy', '1'),
  top_p: honoured(z.number().min(0).max(1), '0 to 1', '1: no limit'),
  top_k: honoured(
    wholeNumber((value) => value >= -1, 'expected a whole number, or -1 for no limit'),
    'whole numbers; -1 as 0',
    '0: no limit',
  ),
  min_p: honoured(z.number().min(0).max(1), '0 to 1', '0: no limit'),
  seed: honoured(
    wholeNumber((value) => Math.abs(value) <= 2 ** 64, 'expected an integer of at most 64 bits'),
    'an integer of at most 64 bits',
    'random for each request',
  ),
  stop: honoured(
    z.union([stopString, boundedList(stopString, limits.stopStringsMax)], {
      error: `expected a string or up to ${limits.stopStringsMax} strings of at most ${limits.stopStringCharactersMax} characters`,
    }),
    `a string or up to ${limits.stopStringsMax}, of at most ${limits.stopStringCharactersMax} characters; blank ones count as absent`,
    'none',
  ),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  repeat_penalty: honoured(z.number().positive().max(10), 'above 0, up to 10', '1: none'),
  priority: honoured(
    z.int().min(-limits.priorityMax).max(limits.priorityMax),
    `-${limits.priorityMax} to ${limits.priorityMax}; the lower, the earlier`,
    '0',
  ),
  timeout_ms: honoured(
    z.int().min(1).max(deadlines.requestMs),
    `1 to ${deadlines.requestMs.toLocaleString('en')}`,
    `${deadlines.requestMs.toLocaleString('en')}: an hour`,
  ),
  typical_p: honoured(z.number().min(0).max(1), '0 to 1', '1: no limit'),
  xtc_probability: honoured(z.number().min(0).max(1), '0 to 1', '0: never'),
  xtc_threshold: honoured(z.number().min(0).max(1), '0 to 1; above 0.5 nothing is excluded', '0.1'),
  repeat_last_n: honoured(
    z.int().min(0).max(limits.recentTokensMax),
    `0 to ${limits.recentTokensMax} tokens that penalties look back on`,
    '64',
  ),
  dry_multiplier: honoured(z.number().min(0).max(100), '0 to 100', '0: no DRY'),
  dry_base: honoured(z.number().min(1).max(100), '1 to 100', '1.75'),
  dry_allowed_length: honoured(
    z.int().min(0).max(limits.recentTokensMax),
    `0 to ${limits.recentTokensMax}`,
    '2',
  ),
  dry_penalty_last_n: honoured(
    z.int().min(0).max(limits.recentTokensMax),
    `0 to ${limits.recentTokensMax} tokens in which repetitions are looked for`,
    '64',
  ),
  dry_sequence_breakers: honoured(
    boundedList(dryBreaker, limits.dryBreakerTextsMax),
    `up to ${limits.dryBreakerTextsMax} texts of at most ${limits.dryBreakerBytesMax} bytes, behind which repetitions begin anew`,
    '`"\\n"`, `":"`, `"\\""`, `"*"`',
  ),
  logit_bias: honoured(
    z
      .record(
        z.string().regex(/^\d{1,9}$/, 'names no token'),
        z.number().min(-limits.logitBiasMax).max(limits.logitBiasMax),
      )
      .refine((biases) => Object.keys(biases).length <= limits.logitBiasTokensMax, {
        error: `at most ${limits.logitBiasTokensMax} tokens are allowed`,
      }),
    `token ids to numbers from -${limits.logitBiasMax} to ${limits.logitBiasMax}, at most ${limits.logitBiasTokensMax}`,
    'none',
  ),
  n: honoured(
    z.int().min(1).max(limits.choicesMax),
    `1 to ${limits.choicesMax} answers, with the seeds from \`seed\` on`,
    '1',
  ),
  ignore_eos: honoured(z.boolean(), '`true`, `false`', '`false`'),
  stream: honoured(z.boolean(), '`true`, `false`', '`false`'),
  stream_options: honoured(
    z.strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() }),
    '`{"include_usage": true}`: the usage in the last event',
    'no usage in streams',
  ),

  user: someText,
  safety_identifier: someText,
  metadata: withoutEffect(
    z.custom((value) => typeof value === 'object' && !Array.isArray(value), 'expected an object'),
  ),
  store: withoutEffect(z.boolean()),
  service_tier: someText,
  prompt_cache_key: someText,
  prompt_cache_retention: someText,
  cache_prompt: withoutEffect(z.boolean()),
  keep_alive: withoutEffect(),

  repetition_penalty: refusedFor('use repeat_penalty', '1'),
};

/** `/v1/chat/completions` */
export const chatFields = {
  messages: honoured(
    boundedList(chatMessage, limits.messagePartsMax, countParts).refine(
      (list) => list.length > 0,
      'is empty',
    ),
    'at least one; see below',
    'required',
  ),
  max_completion_tokens: outputTokens,
  max_tokens: outputTokens,
  tools: honoured(toolList, `up to ${limits.toolsMax} of type \`function\`; see below`, 'none'),
  tool_choice: honoured(
    toolChoice,
    '`"none"`, `"auto"`, `"required"`, `{"type": "function", …}`, `{"type": "allowed_tools", …}`',
    '`"auto"`',
  ),
  parallel_tool_calls: honoured(z.boolean(), '`true`, `false`: an answer ends with its first call', '`true`'),
  reasoning_effort: honoured(
    z.string().max(limits.fieldNameCharactersMax),
    'what the template of the model knows; `none`: no thinking where it knows that',
    "the template's",
  ),
  chat_template_kwargs: honoured(
    z.record(z.string(), z.unknown()),
    'further values that the template of the model asks for',
    'none',
  ),
  continue_final_message: honoured(
    z.boolean(),
    "`true`: goes on with the last message, an assistant's",
    '`false`',
  ),
  add_generation_prompt: honoured(
    z.boolean(),
    '`false` with `continue_final_message`, else `true`',
    'what the latter asks for',
  ),
  ...sharedFields,

  logprobs: honoured(z.boolean(), '`true`: with each token its log probability', '`false`'),
  top_logprobs: honoured(
    z.int().min(0).max(limits.logprobsMax),
    `0 to ${limits.logprobsMax} of the likeliest tokens, with \`logprobs\``,
    '0',
  ),
  response_format: honoured(
    z.union([z.literal(''), responseFormat]),
    '`json_object`, `json_schema`; `regex` with `pattern` and `grammar` (GBNF) are additions',
    '`{"type": "text"}`',
  ),
  functions: refused('[]'),
  function_call: refused('"none"', '"auto"'),
  modalities: refused('["text"]'),
  audio: refused(),
  prediction: refused(),
  verbosity: refused('"medium"'),
  web_search_options: refused(),
};

/** `/v1/completions` */
export const textFields = {
  /** Read by hand, since it may be millions of numbers. */
  prompt: honoured(
    z.unknown(),
    `text or token ids, not empty; or up to ${limits.promptsMax} of them`,
    'required',
  ),
  max_tokens: outputTokensFrom(0, ', where 0 scores the prompt and needs `echo`', '16'),
  ...sharedFields,

  max_completion_tokens: refusedFor('use max_tokens'),
  best_of: honoured(
    z.int().min(1).max(limits.choicesMax),
    `1 to ${limits.choicesMax}, at least \`n\`, of which the \`n\` likeliest are told of; not with \`stream\``,
    '`n`',
  ),
  echo: honoured(z.boolean(), '`true`: the text of the prompt stands before the answer', '`false`'),
  logprobs: honoured(
    z.int().min(0).max(limits.logprobsMax),
    `0 to ${limits.logprobsMax} of the likeliest tokens, beside each token's own log probability`,
    'none',
  ),
  suffix: honoured(
    z.string(),
    'what comes behind the answer, for models that were taught to fill gaps',
    'none',
  ),
};
