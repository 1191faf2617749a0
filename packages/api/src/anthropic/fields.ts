import { limits } from '@butterfly/common';
import { z } from 'zod';
import { honoured, refused, withoutEffect } from '../fields/field-kinds.js';
import { boundedList, countParts, stopString, wholeNumber } from '../fields/values.js';
import { anthropicMessage, systemText } from './conversation.js';

const tool = z.looseObject({
  /** Absent or `custom` for tools of the client; others are run by Anthropic's servers. */
  type: z.string().nullish(),
  name: z.string().min(1),
  description: z.string().nullish(),
  input_schema: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});

const toolChoice = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('auto'), disable_parallel_tool_use: z.boolean().nullish() }),
  z.strictObject({ type: z.literal('any'), disable_parallel_tool_use: z.boolean().nullish() }),
  z.strictObject({
    type: z.literal('tool'),
    name: z.string(),
    disable_parallel_tool_use: z.boolean().nullish(),
  }),
  z.strictObject({ type: z.literal('none') }),
]);

const thinking = z.looseObject({ type: z.string() });

const outputConfig = z.looseObject({
  effort: z.string().nullish(),
  format: z
    .looseObject({ type: z.literal('json_schema'), schema: z.record(z.string(), z.unknown()) })
    .nullish(),
});

/** What is counted as well as answered. */
const promptFields = {
  model: honoured(z.string(), 'the id of the model', 'the model that is served'),
  messages: honoured(
    boundedList(anthropicMessage, limits.messagePartsMax, countParts).refine(
      (list) => list.length > 0,
      'is empty',
    ),
    'at least one; see below',
    'required',
  ),
  system: honoured(systemText, 'a text, or parts of type `text`', 'none'),
  tools: honoured(
    boundedList(tool, limits.toolsMax),
    `up to ${limits.toolsMax}; those that Anthropic's servers would run are skipped, and named in the header`,
    'none',
  ),
  tool_choice: honoured(
    toolChoice,
    '`auto`, `any`, `tool`, `none`, with `disable_parallel_tool_use`',
    '`auto`',
  ),
  thinking: honoured(
    thinking,
    '`{"type": "disabled"}`: no thinking, where the template knows that; else as the template has it',
    'as the template has it',
  ),
  output_config: honoured(outputConfig, '`format` of type `json_schema`; `effort` is without effect', 'none'),
  cache_control: withoutEffect(),
  speed: withoutEffect(z.string()),
  user_profile_id: withoutEffect(z.string()),
  workspace_id: withoutEffect(z.string()),
  context_management: withoutEffect(),
};

/** `/v1/messages/count_tokens` */
export const countFields = promptFields;

/** `/v1/messages` */
export const messagesFields = {
  ...promptFields,
  max_tokens: honoured(
    wholeNumber((value) => value >= 1, 'expected at least 1'),
    'at least 1; more than there is room for: as much as there is room for',
    'the rest of the context',
  ),
  temperature: honoured(z.number().min(0).max(2), '0 to 2; 0 is greedy', '1'),
  top_p: honoured(z.number().min(0).max(1), '0 to 1', '1: no limit'),
  top_k: honoured(
    wholeNumber((value) => value >= 0, 'expected a whole number'),
    'whole numbers',
    '0: no limit',
  ),
  stop_sequences: honoured(
    boundedList(stopString, limits.stopStringsMax),
    `up to ${limits.stopStringsMax}, of at most ${limits.stopStringCharactersMax} characters`,
    'none',
  ),
  stream: honoured(z.boolean(), '`true`, `false`', '`false`'),

  metadata: withoutEffect(),
  service_tier: withoutEffect(z.string()),
  inference_geo: withoutEffect(z.string()),
  diagnostics: withoutEffect(),

  container: refused(),
  mcp_servers: refused('[]'),
};
