import { randomInt } from 'node:crypto';
import { deadlines } from '@butterfly/common';
import {
  type AnswerFormat,
  type ChatInput,
  type ToolChoice,
  type ToolUse,
  noTools,
} from '@butterfly/generation';
import { greedySampling } from '@butterfly/wire';
import { z } from 'zod';
import type { ParsedRequest } from '../answers/dialect.js';
import { namesWithoutEffect, shapeOf, type ShapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { isBlank, topKMax } from '../fields/values.js';
import { conversation } from './conversation.js';
import { messagesEncoding } from './encoding.js';
import { countFields, messagesFields } from './fields.js';

const messagesSchema = z.strictObject(shapeOf(messagesFields));
/** Who counts sends what would be answered, or less. */
const countSchema = z.looseObject(shapeOf(countFields));

type PromptFields = z.output<z.ZodObject<ShapeOf<typeof countFields>>>;

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseMessagesRequest(body: unknown): ParsedRequest {
  const fields = parseBody(messagesSchema, body);
  return {
    model: isBlank(fields.model) ? null : fields.model,
    spec: {
      input: chatInput(fields),
      inputField: 'messages',
      choices: 1,
      candidates: 1,
      sampling: {
        ...greedySampling,
        temperature: fields.temperature ?? 1,
        topK: Math.min(fields.top_k ?? 0, topKMax),
        topP: fields.top_p ?? 1,
        seed: randomInt(2 ** 32),
      },
      dry: null,
      format: formatOf(fields),
      logprobs: null,
      promptLogprobs: null,
      stops: (fields.stop_sequences ?? []).filter((stop) => stop !== ''),
      outputTokensMax: fields.max_tokens ?? null,
      ignoreEos: false,
      priority: 0,
      timeoutMs: deadlines.requestMs,
    },
    stream: fields.stream ?? false,
    withoutEffect: [...namesWithoutEffect(messagesFields, fields), ...skippedTools(fields)],
    encoding: messagesEncoding,
  };
}

/** What is to be counted. @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseCountRequest(body: unknown): {
  readonly model: string | null;
  readonly input: ChatInput;
} {
  const fields = parseBody(countSchema, body);
  return { model: isBlank(fields.model) ? null : fields.model, input: chatInput(fields) };
}

function chatInput(fields: PromptFields): ChatInput {
  const { messages, system, thinking } = fields;
  if (messages == null) throw invalid('messages', 'expected an array of messages');
  // To think is left to the template: agents ask for it of every model, and most templates think unless told otherwise.
  const wishes = thinking?.type === 'disabled' ? { enable_thinking: false } : {};
  return {
    kind: 'chat',
    messages: conversation(system, messages),
    toolUse: toolUse(fields),
    templateValues: wishes,
    // As Anthropic has it: an assistant's words at the end are the beginning of the answer.
    continuesLast: messages.at(-1)?.role === 'assistant',
  };
}

const isOurs = ({ type }: { readonly type?: string | null | undefined }): boolean =>
  type == null || type === 'custom';

/** Tools that the servers of Anthropic would run: clients send them always, and no client can be asked to call them. */
function skippedTools({ tools }: PromptFields): readonly string[] {
  return (tools ?? []).every(isOurs) ? [] : ['tools[].type'];
}

function toolUse({ tools: given, tool_choice: asked }: PromptFields): ToolUse {
  const tools = (given ?? []).filter(isOurs).map((tool) => ({
    name: tool.name,
    description: tool.description ?? null,
    parameters: tool.input_schema ?? null,
    isStrict: tool.strict ?? false,
  }));
  if (asked?.type === 'tool' && !tools.some(({ name }) => name === asked.name))
    throw invalid('tool_choice.name', `there is no tool "${asked.name}" among the tools`);
  if (asked?.type === 'any' && tools.length === 0)
    throw invalid('tool_choice', 'asks for a tool, but there is none');
  if (tools.length === 0) return noTools;
  const isParallel = asked == null || asked.type === 'none' || asked.disable_parallel_tool_use !== true;
  return { tools, choice: toolChoice(asked), isParallel };
}

function toolChoice(asked: PromptFields['tool_choice']): ToolChoice {
  switch (asked?.type) {
    case undefined:
    case 'auto':
      return { kind: 'auto' };
    case 'any':
      return { kind: 'required' };
    case 'none':
      return { kind: 'none' };
    case 'tool':
      return { kind: 'named', names: [asked.name], isRequired: true };
    default:
      return asked satisfies never;
  }
}

function formatOf({ output_config: config }: PromptFields): AnswerFormat {
  return config?.format == null ? { kind: 'text' } : { kind: 'schema', schema: config.format.schema };
}
