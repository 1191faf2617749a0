import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { ButterflyError, deadlines, limits } from '@butterfly/common';
import type { SamplingParams } from '@butterfly/common';
import type { ChatMessage } from '@butterfly/model';
import { z } from 'zod';

/** What both endpoints ask for, with every default filled in. */
export interface CompletionOptions {
  /** Null when the request leaves the choice to the server. */
  readonly model: string | null;
  readonly sampling: SamplingParams;
  readonly stops: readonly string[];
  /** Null for as much as the context has room for. */
  readonly outputTokensMax: number | null;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** The lower, the earlier. */
  readonly priority: number;
  /** From here to the last token, waiting included. */
  readonly timeoutMs: number;
  /** Goes on after tokens that end the generation. */
  readonly ignoreEos: boolean;
}

export interface ChatRequest extends CompletionOptions {
  readonly messages: readonly ChatMessage[];
}

export interface TextRequest extends CompletionOptions {
  readonly prompt: string | Int32Array;
}

/** What OpenAI's `/v1/completions` generates unless told otherwise. */
const textOutputTokensDefault = 16;

/**
 * Looks at a list before its items are: a schema costs far more for each item than the JSON that it came in, and a body
 * has room for millions.
 */
const boundedList = <S extends z.ZodType>(
  items: S,
  max: number,
  size: (list: readonly unknown[]) => number = (list) => list.length,
) =>
  z
    .custom<unknown>((value) => !Array.isArray(value) || size(value) <= max, `at most ${max} are allowed`)
    .pipe(z.array(items));

/** A field that this server lacks; only null and the given JSON texts, which ask for nothing, are let through. */
const lacking = (...idle: readonly string[]) => {
  const idleValues = idle.map((json) => JSON.parse(json) as unknown);
  return z
    .unknown()
    .refine((value) => value == null || idleValues.some((idleValue) => isDeepStrictEqual(value, idleValue)), {
      params: { unsupported: true },
      error: `not supported; leave it out${idle.length > 0 ? ` or send ${idle.join(' or ')}` : ''}`,
    })
    .optional();
};

/** Anything of this type passes and changes nothing. */
const ignored = <S extends z.ZodType>(schema: S) => schema.nullish();

const stopString = z
  .string()
  .min(1)
  .max(limits.stopStringCharactersMax)
  .refine((text) => !/\p{Surrogate}/u.test(text), { error: 'has half a surrogate pair' });

const tokenCount = z.int().min(1).nullish();

const sharedFields = {
  model: z.string().nullish(),
  max_tokens: tokenCount,
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repeat_penalty: z.number().positive().max(10).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  seed: z.int().nullish(),
  stop: z
    .union([stopString, boundedList(stopString, limits.stopStringsMax)], {
      error: `expected a string or up to ${limits.stopStringsMax} strings of 1 to ${limits.stopStringCharactersMax} characters`,
    })
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: lacking('false') })
    .nullish(),
  priority: z.int().min(-limits.priorityMax).max(limits.priorityMax).nullish(),
  timeout_ms: z.int().min(1).max(deadlines.requestMs).nullish(),
  ignore_eos: z.boolean().nullish(),
  user: ignored(z.string()),
  metadata: ignored(
    z.custom((value) => typeof value === 'object' && !Array.isArray(value), 'expected an object'),
  ),
  store: lacking('false'),
  n: lacking('1'),
  logit_bias: lacking('{}'),
};

const knownRoles: readonly string[] = ['system', 'developer', 'user', 'assistant'];

const chatMessage = z.strictObject({
  role: z.string().refine((role) => knownRoles.includes(role), {
    params: { unsupported: true },
    error: `not a supported role; use ${knownRoles.join(', ')}`,
  }),
  content: z.union([z.string(), z.array(z.looseObject({ type: z.string(), text: z.string().optional() }))], {
    error: 'expected a string or an array of {"type": "text", "text": …}',
  }),
  name: z.string().optional(),
  // What an assistant's message carries when a client sends it back.
  refusal: lacking(),
  annotations: lacking('[]'),
  audio: lacking(),
  tool_calls: lacking('[]'),
  function_call: lacking(),
  parsed: lacking(),
});

function countParts(messages: readonly unknown[]): number {
  let parts = messages.length;
  for (const message of messages)
    if (
      typeof message === 'object' &&
      message !== null &&
      'content' in message &&
      Array.isArray(message.content)
    )
      parts += message.content.length;
  return parts;
}

const chatSchema = z.strictObject({
  ...sharedFields,
  messages: boundedList(chatMessage, limits.messagePartsMax, countParts).refine(
    (list) => list.length > 0,
    'is empty',
  ),
  max_completion_tokens: tokenCount,
  safety_identifier: ignored(z.string()),
  prompt_cache_key: ignored(z.string()),
  logprobs: lacking('false'),
  top_logprobs: lacking('0'),
  response_format: lacking('{"type":"text"}'),
  tools: lacking('[]'),
  tool_choice: lacking('"none"', '"auto"'),
  parallel_tool_calls: lacking('true', 'false'),
  functions: lacking('[]'),
  function_call: lacking('"none"', '"auto"'),
  modalities: lacking('["text"]'),
  audio: lacking(),
  prediction: lacking(),
  reasoning_effort: lacking(),
  verbosity: lacking(),
  web_search_options: lacking(),
  service_tier: lacking('"auto"', '"default"'),
});

const textSchema = z.strictObject({
  ...sharedFields,
  /** Read by hand, since it may be millions of numbers. */
  prompt: z.unknown().optional(),
  best_of: lacking('1'),
  echo: lacking('false'),
  logprobs: lacking(),
  suffix: lacking('""'),
});

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const fields = parse(chatSchema, body);
  const { max_tokens: older, max_completion_tokens: newer } = fields;
  if (older != null && newer != null && older !== newer)
    throw invalid('max_tokens', 'contradicts max_completion_tokens; send only the latter');
  // Templates know the name that `developer` had before.
  const messages = fields.messages.map((message) =>
    message.role === 'developer' ? { ...message, role: 'system' } : message,
  );
  return { ...options(fields, newer ?? older ?? null), messages };
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseTextRequest(body: unknown): TextRequest {
  const fields = parse(textSchema, body);
  return {
    ...options(fields, fields.max_tokens ?? textOutputTokensDefault),
    prompt: onePrompt(fields.prompt),
  };
}

function options(
  fields: z.output<z.ZodObject<typeof sharedFields>>,
  outputTokensMax: number | null,
): CompletionOptions {
  const stream = fields.stream ?? false;
  if (!stream && fields.stream_options != null)
    throw invalid('stream_options', 'only allowed together with "stream": true');
  return {
    model: fields.model ?? null,
    sampling: {
      temperature: fields.temperature ?? 1,
      topK: fields.top_k ?? 0,
      topP: fields.top_p ?? 1,
      minP: fields.min_p ?? 0,
      repeatPenalty: fields.repeat_penalty ?? 1,
      frequencyPenalty: fields.frequency_penalty ?? 0,
      presencePenalty: fields.presence_penalty ?? 0,
      // Seeds of 32 bits: a larger or negative one counts modulo 2^32.
      seed: fields.seed == null ? randomInt(2 ** 32) : fields.seed >>> 0,
    },
    stops: typeof fields.stop === 'string' ? [fields.stop] : (fields.stop ?? []),
    outputTokensMax,
    stream,
    includeUsage: fields.stream_options?.include_usage ?? false,
    priority: fields.priority ?? 0,
    timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
    ignoreEos: fields.ignore_eos ?? false,
  };
}

function onePrompt(prompt: unknown): string | Int32Array {
  if (typeof prompt === 'string') return prompt;
  if (!Array.isArray(prompt)) throw invalid('prompt', 'expected a string or an array of token ids');
  const items: readonly unknown[] = prompt;
  const [first] = items;
  if (first === undefined) throw invalid('prompt', 'is empty');
  if (typeof first === 'number') return tokenIds(items);
  if (items.some((item) => typeof item !== 'string' && !Array.isArray(item)))
    throw invalid('prompt', 'expected a string or an array of token ids');
  if (items.length > 1)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'prompt: several prompts in one request are not supported; send one request for each.',
      { param: 'prompt' },
    );
  return typeof first === 'string' ? first : tokenIds(first as readonly unknown[]);
}

function tokenIds(items: readonly unknown[]): Int32Array {
  const tokens = new Int32Array(items.length);
  for (let at = 0; at < items.length; at++) {
    const item = items[at];
    if (typeof item !== 'number' || !Number.isInteger(item) || item < 0 || item > 0x7fff_ffff)
      throw invalid('prompt', `expected token ids, but item ${at} is none`);
    tokens[at] = item;
  }
  return tokens;
}

function invalid(param: string, what: string): ButterflyError {
  return new ButterflyError('REQUEST_INVALID', `${param}: ${what}.`, { param });
}

function parse<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  if (issue?.code === 'unrecognized_keys') {
    const param = [...issue.path, issue.keys[0] ?? ''].join('.');
    throw new ButterflyError('REQUEST_UNSUPPORTED', `${param}: no such field is known here; leave it out.`, {
      param,
    });
  }
  if (path === '') throw new ButterflyError('REQUEST_INVALID', 'The request body must be a JSON object.');
  if (issue?.code === 'custom' && issue.params?.unsupported === true)
    throw new ButterflyError('REQUEST_UNSUPPORTED', `${path}: ${issue.message}.`, { param: path });
  throw invalid(path, issue?.message ?? 'invalid');
}
