import { randomInt } from 'node:crypto';
import { ButterflyError, deadlines } from '@butterfly/common';
import type { ChatInput, GenerationInput } from '@butterfly/generation';
import type { SamplingParams } from '@butterfly/wire';
import { z } from 'zod';
import type { ParsedRequest } from '../answers/dialect.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import type { ShapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { chatEncoding } from './chat-encoding.js';
import { messageNamesWithoutEffect, templateMessage } from './chat-messages.js';
import { toolUseOf } from './chat-tools.js';
import { chatFields, textFields } from './fields.js';
import type { sharedFields } from './fields.js';
import { textEncoding } from './text-encoding.js';

/** What OpenAI's `/v1/completions` generates unless told otherwise. */
const textOutputTokensDefault = 16;

const chatSchema = z.strictObject(shapeOf(chatFields));
const textSchema = z.strictObject(shapeOf(textFields));

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseChatRequest(body: unknown): ParsedRequest {
  const fields = parseBody(chatSchema, body);
  const { messages, max_tokens: older, max_completion_tokens: newer } = fields;
  if (messages == null) throw invalid('messages', 'expected an array of messages');
  if (older != null && newer != null && older !== newer)
    throw invalid('max_tokens', 'contradicts max_completion_tokens; send only the latter');
  const names = [...namesWithoutEffect(chatFields, fields), ...messageNamesWithoutEffect(messages)];
  const input: ChatInput = {
    kind: 'chat',
    messages: messages.map(templateMessage),
    toolUse: toolUseOf(fields),
    templateValues: templateValuesOf(fields),
    continuesLast: continuesLast(fields),
  };
  return parsedRequest(fields, { input, inputField: 'messages', outputTokens: newer ?? older ?? -1, names });
}

type ChatFields = z.output<typeof chatSchema>;

function templateValuesOf({ chat_template_kwargs: more, reasoning_effort: effort }: ChatFields) {
  return { ...more, ...(isBlank(effort) ? {} : { reasoning_effort: effort }) };
}

/** As vLLM has it: an answer is begun, or the last one continued. */
function continuesLast({
  continue_final_message: continues,
  add_generation_prompt: begins,
}: ChatFields): boolean {
  if (continues === true && begins === true)
    throw invalid('add_generation_prompt', 'contradicts continue_final_message; send only the latter');
  if (continues !== true && begins === false)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'add_generation_prompt: false is supported with continue_final_message alone; leave it out.',
      { param: 'add_generation_prompt' },
    );
  return continues ?? false;
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseTextRequest(body: unknown): ParsedRequest {
  const fields = parseBody(textSchema, body);
  const outputTokens = fields.max_tokens ?? textOutputTokensDefault;
  const names = namesWithoutEffect(textFields, fields);
  return parsedRequest(fields, {
    input: onePrompt(fields.prompt),
    inputField: 'prompt',
    outputTokens,
    names,
  });
}

/** What an endpoint has of its own. */
interface Own {
  readonly input: GenerationInput;
  readonly inputField: 'messages' | 'prompt';
  /** -1 for as many as there is room for. */
  readonly outputTokens: number;
  /** Of fields that change nothing. */
  readonly names: readonly string[];
}

function parsedRequest(
  fields: z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>,
  { input, inputField, outputTokens, names }: Own,
): ParsedRequest {
  const stream = fields.stream ?? false;
  const { include_usage: includeUsage, include_obfuscation: obfuscates } = fields.stream_options ?? {};
  const idleStreamOptions = [
    ...(!stream && fields.stream_options != null ? ['stream_options'] : []),
    ...(stream && obfuscates === true ? ['stream_options.include_obfuscation'] : []),
  ];
  return {
    model: isBlank(fields.model) ? null : fields.model,
    spec: {
      input,
      inputField,
      choices: fields.n ?? 1,
      sampling: samplingOf(fields),
      format: { kind: 'text' },
      stops: [fields.stop ?? []].flat().filter((stop) => stop !== ''),
      outputTokensMax: outputTokens === -1 ? null : outputTokens,
      priority: fields.priority ?? 0,
      timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
      ignoreEos: fields.ignore_eos ?? false,
    },
    stream,
    withoutEffect: [...names, ...idleStreamOptions],
    encoding: (inputField === 'messages' ? chatEncoding : textEncoding)(includeUsage ?? false),
  };
}

function samplingOf(fields: z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>): SamplingParams {
  return {
    temperature: fields.temperature ?? 1,
    topK: Math.min(Math.max(fields.top_k ?? 0, 0), topKMax),
    topP: fields.top_p ?? 1,
    minP: fields.min_p ?? 0,
    repeatPenalty: fields.repeat_penalty ?? 1,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    presencePenalty: fields.presence_penalty ?? 0,
    seed: fields.seed == null ? randomInt(2 ** 32) : seedOf(fields.seed),
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

function onePrompt(prompt: unknown): GenerationInput {
  if (typeof prompt === 'string') return { kind: 'text', text: prompt };
  if (!Array.isArray(prompt)) throw invalid('prompt', 'expected a string or an array of token ids');
  const items: readonly unknown[] = prompt;
  const [first] = items;
  if (first === undefined) throw invalid('prompt', 'is empty');
  if (typeof first === 'number') return { kind: 'tokens', tokens: tokenIds(items) };
  if (items.some((item) => typeof item !== 'string' && !Array.isArray(item)))
    throw invalid('prompt', 'expected a string or an array of token ids');
  if (items.length > 1)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'prompt: several prompts in one request are not supported; send one request for each.',
      { param: 'prompt' },
    );
  if (typeof first === 'string') return { kind: 'text', text: first };
  return { kind: 'tokens', tokens: tokenIds(first as readonly unknown[]) };
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
