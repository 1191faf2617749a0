import { ButterflyError, deadlines, limits, shownWord } from '@butterfly/common';
import type { AnswerFormat } from '@butterfly/generation';
import { z } from 'zod';
import type { ParsedRequest } from '../answers/dialect.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { dryOf, samplingOf } from '../openai/sampling.js';
import { messagesOf } from './conversation.js';
import { responsesEncoding } from './encoding.js';
import { innerNamesWithoutEffect, responseFields, sealedReasoning } from './fields.js';
import { type Item, newItemId } from './items.js';
import { itemNamesWithoutEffect, readItem } from './read-items.js';
import type { Recall, ResponseMemory } from './recall.js';
import type { RequestEcho } from './response-object.js';
import { type ReadTools, readTools } from './tools.js';

const schema = z.strictObject(shapeOf(responseFields));
type Body = z.output<typeof schema>;

export interface ParsedResponseRequest extends ParsedRequest {
  /** Whether it goes on without whoever asked, who will ask for its state. */
  readonly isBackground: boolean;
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field; NOT_FOUND for what is not kept */
export function parseResponseRequest(body: unknown, memory: ResponseMemory): ParsedResponseRequest {
  const fields = parseBody(schema, body);
  const input = readInput(fields.input, boundedRecall(memory));
  const previousId = textOrNull(fields.previous_response_id);
  const before = previousId === null ? [] : memory.conversation(previousId, 'previous_response_id');
  const items = [...before, ...input];
  if (items.length > limits.messagePartsMax)
    throw invalid(
      'previous_response_id',
      `the conversation has over ${limits.messagePartsMax} items; begin a new one with what still matters`,
    );
  if (items.length === 0) throw invalid('input', 'is empty; send at least one item');
  const tools = readTools(fields.tools ?? [], fields.tool_choice ?? null, fields.parallel_tool_calls ?? true);
  const isStored = fields.store ?? true;
  return {
    model: fields.model?.trim() ? fields.model : null,
    spec: {
      input: {
        kind: 'chat',
        messages: messagesOf(items, textOrNull(fields.instructions)),
        toolUse: tools.use,
        templateValues: templateValuesOf(fields),
        continuesLast: false,
      },
      inputField: 'input',
      choices: 1,
      candidates: 1,
      sampling: samplingOf(fields),
      dry: dryOf(fields),
      format: formatOf(fields),
      logprobs: null,
      promptLogprobs: null,
      stops: [fields.stop ?? []].flat().filter((stop) => stop !== ''),
      outputTokensMax: outputTokens(fields),
      priority: fields.priority ?? 0,
      timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
      ignoreEos: fields.ignore_eos ?? false,
    },
    stream: fields.stream ?? false,
    isBackground: isBackground(fields),
    withoutEffect: [
      ...namesWithoutEffect(responseFields, fields),
      ...innerNamesWithoutEffect(fields.text, fields.reasoning, shownWord),
      ...tools.skipped,
      ...(Array.isArray(fields.input) ? itemNamesWithoutEffect(fields.input) : []),
    ],
    encoding: responsesEncoding({
      echo: echoOf(fields, tools, previousId),
      watcher: memory.watcher({ input, previousId, isStored }),
      sealsReasoning: fields.include?.includes(sealedReasoning) ?? false,
    }),
  };
}

/** What nobody keeps, nobody could ask for. */
function isBackground({ background, store }: Body): boolean {
  if (background !== true) return false;
  if (store === false) throw invalid('background', 'needs store, since its end is asked for later');
  return true;
}

function readInput(input: Body['input'], recall: Recall): readonly Item[] {
  if (input == null) throw invalid('input', 'expected a string or an array of items');
  if (typeof input !== 'string') return input.map((item, index) => readItem(item, `input.${index}`, recall));
  return [
    {
      type: 'message',
      id: newItemId('msg'),
      role: 'user',
      status: 'completed',
      content: [{ type: 'input_text', text: input }],
    },
  ];
}

/** Names are short and what they name may be long, so a body could ask for far more than it can hold itself. */
function boundedRecall(recall: Recall): Recall {
  const found = new Map<string, { readonly item: Item; readonly characters: number }>();
  let charactersLeft = limits.requestBodyBytesMax;
  return {
    item(id, param) {
      let known = found.get(id);
      if (known === undefined) {
        const item = recall.item(id, param);
        known = { item, characters: JSON.stringify(item).length };
        found.set(id, known);
      }
      charactersLeft -= known.characters;
      if (charactersLeft < 0)
        throw new ButterflyError(
          'REQUEST_TOO_LARGE',
          `${param}: the items that are named have over ${limits.requestBodyBytesMax} characters; name fewer.`,
          { param },
        );
      return known.item;
    },
  };
}

/** A blank string is no value. */
const textOrNull = (text: string | null | undefined): string | null =>
  text == null || text === '' ? null : text;

const outputTokens = ({ max_output_tokens: max }: Body): number | null =>
  max == null || max === -1 ? null : max;

/** Under the name that templates and chats have for it. */
function templateValuesOf({ reasoning }: Body): Readonly<Record<string, unknown>> {
  const effort = textOrNull(reasoning?.effort);
  return effort === null ? {} : { reasoning_effort: effort };
}

function formatOf({ text }: Body): AnswerFormat {
  const format = text?.format;
  switch (format?.type) {
    case undefined:
    case 'text':
      return { kind: 'text' };
    case 'json_object':
      return { kind: 'json' };
    case 'json_schema':
      return { kind: 'schema', schema: format.schema };
    default:
      return format satisfies never;
  }
}

/** What the response repeats, with the defaults that counted. */
function echoOf(fields: Body, { echo }: ReadTools, previousId: string | null): RequestEcho {
  return {
    background: fields.background ?? false,
    instructions: fields.instructions ?? null,
    max_output_tokens: outputTokens(fields),
    metadata: fields.metadata ?? {},
    parallel_tool_calls: fields.parallel_tool_calls ?? true,
    previous_response_id: previousId,
    prompt_cache_key: fields.prompt_cache_key ?? null,
    reasoning: { effort: fields.reasoning?.effort ?? null, summary: null },
    safety_identifier: fields.safety_identifier ?? null,
    temperature: fields.temperature ?? 1,
    text: { format: fields.text?.format ?? { type: 'text' } },
    ...echo,
    top_p: fields.top_p ?? 1,
    ...(fields.user == null ? {} : { user: fields.user }),
  };
}
