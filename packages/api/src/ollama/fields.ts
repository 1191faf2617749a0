import { keepAliveSchema } from './keep-alive.js';
import { limits } from '@butterfly/common';
import { z } from 'zod';
import { honoured, refused, withoutEffect } from '../fields/field-kinds.js';
import { boundedList, stopString, wholeNumber } from '../fields/values.js';

const penalty = z.number().min(-2).max(2);
const ignored = withoutEffect();

/** What `options` may have. The defaults are Ollama's. */
export const optionFields = {
  temperature: honoured(z.number().min(0).max(2), '0 to 2; 0 is greedy', '0.8'),
  top_k: honoured(
    wholeNumber((value) => value >= 0, 'expected a whole number'),
    'whole numbers; 0: no limit',
    '40',
  ),
  top_p: honoured(z.number().min(0).max(1), '0 to 1', '0.9'),
  min_p: honoured(z.number().min(0).max(1), '0 to 1', '0: no limit'),
  seed: honoured(
    wholeNumber((value) => Math.abs(value) <= 2 ** 53, 'expected an integer'),
    'an integer',
    'random for each request',
  ),
  num_predict: honoured(
    wholeNumber((value) => value >= 1 || value === -1 || value === -2, 'expected at least 1, or -1'),
    'at least 1; -1 and -2 for as much as there is room for',
    '-1',
  ),
  stop: honoured(
    z.union([stopString, boundedList(stopString, limits.stopStringsMax)]),
    `a string or up to ${limits.stopStringsMax}, of at most ${limits.stopStringCharactersMax} characters`,
    'none',
  ),
  repeat_penalty: honoured(z.number().positive().max(10), 'above 0, up to 10', '1.1'),
  presence_penalty: honoured(penalty, '-2 to 2', '0'),
  frequency_penalty: honoured(penalty, '-2 to 2', '0'),

  num_ctx: ignored,
  num_batch: ignored,
  num_gpu: ignored,
  num_thread: ignored,
  num_keep: ignored,
  main_gpu: ignored,
  low_vram: ignored,
  f16_kv: ignored,
  numa: ignored,
  logits_all: ignored,
  vocab_only: ignored,
  use_mmap: ignored,
  use_mlock: ignored,
  embedding_only: ignored,
  penalize_newline: ignored,
  mirostat_tau: ignored,
  mirostat_eta: ignored,

  mirostat: refused('0'),
  tfs_z: refused('1'),
  typical_p: refused('1'),
  repeat_last_n: refused('64'),
};

const format = z.union([z.literal('json'), z.literal(''), z.record(z.string(), z.unknown())], {
  error: 'expected "json" or a JSON schema',
});

const thinkingWords = '`true`, `false`, or a word of effort, where the template of the model knows such';

const sharedFields = {
  model: honoured(z.string(), 'the id of the model, `:latest` behind it or not', 'the model that is served'),
  stream: honoured(z.boolean(), '`true`, `false`', '`true`'),
  format: honoured(format, '`json` or a JSON schema', 'text'),
  options: honoured(z.unknown(), 'see below', "Ollama's defaults"),
  think: honoured(z.union([z.boolean(), z.string()]), thinkingWords, 'as the template has it'),
  keep_alive: honoured(
    keepAliveSchema,
    'seconds or a duration such as `5m`; below 0 for ever, 0 unloads at once',
    '`serve --keep-alive`',
  ),
  logprobs: refused('false'),
  top_logprobs: refused('0'),
};

const toolCall = z.looseObject({
  id: z.string().nullish(),
  function: z.looseObject({ name: z.string(), arguments: z.record(z.string(), z.unknown()).nullish() }),
});

const message = z.looseObject({
  role: z.enum(['system', 'user', 'assistant', 'tool'], {
    error: 'not a known role; use system, user, assistant or tool',
  }),
  content: z.string().nullish(),
  thinking: z.string().nullish(),
  tool_calls: z.array(toolCall).nullish(),
  tool_name: z.string().nullish(),
  images: z.array(z.unknown()).max(0, 'images are not supported; leave them out').nullish(),
});

const tool = z.looseObject({
  type: z.literal('function').nullish(),
  function: z.looseObject({
    name: z.string().min(1),
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
  }),
});

/** `/api/chat` */
export const chatFields = {
  messages: honoured(
    boundedList(message, limits.messagePartsMax),
    'none only asks whether the model is there',
    'none',
  ),
  tools: honoured(boundedList(tool, limits.toolsMax), `up to ${limits.toolsMax} functions`, 'none'),
  ...sharedFields,
};

/** `/api/generate` */
export const generateFields = {
  prompt: honoured(z.string(), 'a text; a blank one only asks whether the model is there', 'none'),
  system: honoured(z.string(), 'a text', 'none'),
  raw: honoured(z.boolean(), '`true`: the prompt is continued as it is, without a template', '`false`'),
  suffix: honoured(z.string(), 'what comes behind the answer, for models that fill gaps', 'none'),
  ...sharedFields,
  template: refused(),
  context: refused('[]'),
  images: refused('[]'),
  width: refused(),
  height: refused(),
  steps: refused(),
};

/** `/api/embed`, and the older `/api/embeddings`. */
export const embedFields = {
  model: sharedFields.model,
  input: honoured(z.unknown(), `a text, or up to ${limits.embeddingInputsMax}`, 'required'),
  prompt: honoured(z.unknown(), 'the same, as older clients call it', 'none'),
  truncate: honoured(z.boolean(), '`false`: a text that is too long is refused', '`true`: it loses its end'),
  dimensions: honoured(
    z.int().min(1),
    'the first so many numbers, for models that were trained for it',
    'all that the model has',
  ),
  options: ignored,
  keep_alive: honoured(
    keepAliveSchema,
    'seconds or a duration such as `5m`; below 0 for ever, 0 unloads at once',
    '`serve --keep-alive`',
  ),
};
