import { randomInt } from 'node:crypto';
import { ButterflyError, deadlines } from '@butterfly/common';
import type { ChatMessage } from '@butterfly/text';
import { greedySampling, type SamplingParams } from '@butterfly/wire';
import { z } from 'zod';
import { messageNamesWithoutEffect, templateMessage } from './chat-messages.js';
import { namesWithoutEffect, shapeOf } from './field-kinds.js';
import type { ShapeOf } from './field-kinds.js';
import { chatFields, textFields } from './fields.js';
import type { sharedFields } from './fields.js';

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
  /** Names of the fields that were let through and change nothing, for the header of the response. */
  readonly withoutEffect: readonly string[];
}

export interface ChatRequest extends CompletionOptions {
  readonly messages: readonly ChatMessage[];
}

export interface TextRequest extends CompletionOptions {
  readonly prompt: string | Int32Array;
}

/** What OpenAI's `/v1/completions` generates unless told otherwise. */
const textOutputTokensDefault = 16;

const chatSchema = z.strictObject(shapeOf(chatFields));
const textSchema = z.strictObject(shapeOf(textFields));

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const fields = parse(chatSchema, body);
  const { messages, max_tokens: older, max_completion_tokens: newer } = fields;
  if (messages == null) throw invalid('messages', 'expected an array of messages');
  if (older != null && newer != null && older !== newer)
    throw invalid('max_tokens', 'contradicts max_completion_tokens; send only the latter');
  const names = [...namesWithoutEffect(chatFields, fields), ...messageNamesWithoutEffect(messages)];
  return { ...options(fields, newer ?? older ?? -1, names), messages: messages.map(templateMessage) };
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseTextRequest(body: unknown): TextRequest {
  const fields = parse(textSchema, body);
  const outputTokens = fields.max_tokens ?? textOutputTokensDefault;
  return {
    ...options(fields, outputTokens, namesWithoutEffect(textFields, fields)),
    prompt: onePrompt(fields.prompt),
  };
}

function options(
  fields: z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>,
  outputTokens: number,
  withoutEffect: readonly string[],
): CompletionOptions {
  const stream = fields.stream ?? false;
  const { include_usage: includeUsage, include_obfuscation: obfuscates } = fields.stream_options ?? {};
  const idleStreamOptions = [
    ...(!stream && fields.stream_options != null ? ['stream_options'] : []),
    ...(stream && obfuscates === true ? ['stream_options.include_obfuscation'] : []),
  ];
  return {
    model: isBlank(fields.model) ? null : fields.model,
    sampling: {
      ...greedySampling,
      temperature: fields.temperature ?? 1,
      topK: Math.min(Math.max(fields.top_k ?? 0, 0), topKMax),
      topP: fields.top_p ?? 1,
      minP: fields.min_p ?? 0,
      repeatPenalty: fields.repeat_penalty ?? 1,
      frequencyPenalty: fields.frequency_penalty ?? 0,
      presencePenalty: fields.presence_penalty ?? 0,
      seed: fields.seed == null ? randomInt(2 ** 32) : seedOf(fields.seed),
    },
    stops: [fields.stop ?? []].flat().filter((stop) => stop !== ''),
    outputTokensMax: outputTokens === -1 ? null : outputTokens,
    stream,
    includeUsage: includeUsage ?? false,
    priority: fields.priority ?? 0,
    timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
    ignoreEos: fields.ignore_eos ?? false,
    withoutEffect: [...withoutEffect, ...idleStreamOptions],
  };
}

/** What its field on the wire holds, and more than any vocabulary has. */
const topKMax = 2 ** 31;

const isBlank = (text: string | null | undefined): text is null | undefined | '' =>
  !text || text.trim() === '';

/**
 * Seeds of 32 bits: any integer counts modulo 2^32. Beyond 2^53 JSON numbers are multiples of a power of two, whose low
 * bits say nothing, so the upper half is mixed into them.
 */
function seedOf(seed: number): number {
  if (Number.isSafeInteger(seed)) return seed >>> 0;
  const bits = BigInt.asUintN(64, BigInt(seed));
  return Number((bits >> 32n) ^ (bits & 0xffff_ffffn));
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
