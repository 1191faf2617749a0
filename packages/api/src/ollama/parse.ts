import { randomInt } from 'node:crypto';
import { deadlines } from '@butterfly/common';
import {
  type AnswerFormat,
  type ChatInput,
  type GenerationInput,
  type ToolUse,
  noTools,
} from '@butterfly/generation';
import type { ChatMessage } from '@butterfly/text';
import { type SamplingParams, greedySampling } from '@butterfly/wire';
import { z } from 'zod';
import type { ParsedRequest } from '../answers/dialect.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { isBlank, topKMax } from '../fields/values.js';
import { chatEncoding, generateEncoding } from './encoding.js';
import { chatFields, generateFields, optionFields } from './fields.js';
import { keepMsOf } from './keep-alive.js';

const chatSchema = z.strictObject(shapeOf(chatFields));
const generateSchema = z.strictObject(shapeOf(generateFields));
const optionsSchema = z.strictObject(shapeOf(optionFields));

type ChatFields = z.output<typeof chatSchema>;
type Options = z.output<typeof optionsSchema>;

/** A request, or null for the model that it only asks for: with nothing to answer, Ollama loads it. */
export interface OllamaRequest {
  readonly model: string | null;
  /** How long the model stays loaded; undefined leaves that to the server. */
  readonly keepMs: number | undefined;
  readonly asked: ParsedRequest | null;
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseChat(body: unknown): OllamaRequest {
  const fields = parseBody(chatSchema, body);
  const messages = (fields.messages ?? []).map(chatMessage);
  const input = { kind: 'chat', messages, toolUse: toolUse(fields), ...chatOptions(fields) } as const;
  const names = namesWithoutEffect(chatFields, fields);
  return parsed(fields, messages.length === 0 ? null : input, {
    field: 'messages',
    names,
    encoding: chatEncoding,
  });
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseGenerate(body: unknown): OllamaRequest {
  const fields = parseBody(generateSchema, body);
  const names = namesWithoutEffect(generateFields, fields);
  return parsed(fields, generateInput(fields), { field: 'prompt', names, encoding: generateEncoding });
}

/** Ollama's names have a tag behind them, which says `latest` where nobody chose one. */
export function modelName(named: string | null | undefined): string | null {
  return isBlank(named) ? null : named.replace(/:latest$/, '');
}

interface Own {
  readonly field: string;
  readonly names: readonly string[];
  readonly encoding: ParsedRequest['encoding'];
}

function parsed(
  fields: Pick<ChatFields, 'model' | 'stream' | 'format' | 'options' | 'keep_alive'>,
  input: GenerationInput | null,
  { field, names, encoding }: Own,
): OllamaRequest {
  const options = parseBody(optionsSchema, fields.options ?? {}, 'options');
  const idleOptions = namesWithoutEffect(optionFields, options).map((name) => `options.${name}`);
  const model = modelName(fields.model);
  const keepMs = keepMsOf(fields.keep_alive);
  if (input === null) return { model, keepMs, asked: null };
  const outputTokens = options.num_predict ?? -1;
  const spec = {
    input,
    inputField: field,
    choices: 1,
    candidates: 1,
    sampling: samplingOf(options),
    dry: null,
    format: formatOf(fields.format),
    logprobs: null,
    promptLogprobs: null,
    stops: [options.stop ?? []].flat().filter((stop) => stop !== ''),
    outputTokensMax: outputTokens < 0 ? null : outputTokens,
    ignoreEos: false,
    priority: 0,
    timeoutMs: deadlines.requestMs,
  };
  const withoutEffect = [...names, ...idleOptions];
  const kept = keepMs === undefined ? {} : { keepMs };
  return {
    model,
    keepMs,
    asked: { model, ...kept, spec, stream: fields.stream ?? true, withoutEffect, encoding },
  };
}

function samplingOf(options: Options): SamplingParams {
  return {
    ...greedySampling,
    temperature: options.temperature ?? 0.8,
    topK: Math.min(options.top_k ?? 40, topKMax),
    topP: options.top_p ?? 0.9,
    minP: options.min_p ?? 0,
    repeatPenalty: options.repeat_penalty ?? 1.1,
    presencePenalty: options.presence_penalty ?? 0,
    frequencyPenalty: options.frequency_penalty ?? 0,
    seed: options.seed == null ? randomInt(2 ** 32) : options.seed >>> 0,
  };
}

function formatOf(format: ChatFields['format']): AnswerFormat {
  if (format == null || format === '') return { kind: 'text' };
  return format === 'json' ? { kind: 'json' } : { kind: 'schema', schema: format };
}

function chatOptions({
  think,
}: Pick<ChatFields, 'think'>): Pick<ChatInput, 'templateValues' | 'continuesLast'> {
  const effort = typeof think === 'string' && think !== '' ? { reasoning_effort: think } : {};
  return {
    templateValues: think == null || think === '' ? {} : { enable_thinking: think !== false, ...effort },
    continuesLast: false,
  };
}

function generateInput(fields: z.output<typeof generateSchema>): GenerationInput | null {
  const { prompt, system, raw, suffix } = fields;
  if (suffix != null && suffix !== '') {
    if (!isBlank(system) || raw === true)
      throw invalid(
        isBlank(system) ? 'raw' : 'system',
        'has no place in a text with a suffix; leave one out',
      );
    return { kind: 'infill', prefix: prompt ?? '', suffix, suffixField: 'suffix', begun: '', files: null };
  }
  if (isBlank(prompt)) return null;
  if (raw === true) return { kind: 'text', text: prompt };
  const instructions = isBlank(system) ? [] : [{ role: 'system', content: system }];
  const messages = [...instructions, { role: 'user', content: prompt }];
  return { kind: 'chat', messages, toolUse: noTools, ...chatOptions(fields) };
}

function toolUse({ tools }: ChatFields): ToolUse {
  if (tools == null || tools.length === 0) return noTools;
  return {
    tools: tools.map(({ function: { name, description, parameters } }) => ({
      name,
      description: description ?? null,
      parameters: parameters ?? null,
      isStrict: false,
    })),
    choice: { kind: 'auto' },
    isParallel: true,
  };
}

function chatMessage(message: NonNullable<ChatFields['messages']>[number], index: number): ChatMessage {
  const { role, content, thinking, tool_calls: calls, tool_name: toolName } = message;
  return {
    role,
    content: content ?? '',
    ...(isBlank(thinking) ? {} : { reasoning: thinking }),
    ...(isBlank(toolName) ? {} : { name: toolName }),
    ...(calls == null || calls.length === 0
      ? {}
      : {
          toolCalls: calls.map(({ id, function: called }, call) => ({
            id: id ?? `call_${index}_${call}`,
            name: called.name,
            arguments: JSON.stringify(called.arguments ?? {}),
          })),
        }),
  };
}
