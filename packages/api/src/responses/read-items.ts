import { limits, shownWord } from '@butterfly/common';
import { z } from 'zod';
import { isAbsent } from '../fields/field-kinds.js';
import { invalid, parseBody, unsupportedField } from '../fields/parse-body.js';
import { type Item, type ItemStatus, newItemId, outputText, unsealed } from './items.js';
import type { Recall } from './recall.js';

const part = z.looseObject({ type: z.string(), text: z.string().nullish(), refusal: z.string().nullish() });
const contents = z.union([z.string(), z.array(part)], {
  error: 'expected a string or an array of {"type": "input_text", "text": …}',
});

// Blank is as good as absent.
const id = z
  .string()
  .transform((text) => (text === '' ? null : text))
  .nullish();
const schemas = {
  message: z.looseObject({ id, role: z.string(), content: contents }),
  function_call: z.looseObject({ id, call_id: z.string(), name: z.string(), arguments: z.string() }),
  function_call_output: z.looseObject({ id, call_id: z.string(), output: contents }),
  reasoning: z.looseObject({
    id,
    summary: z.array(z.looseObject({ text: z.string() })).nullish(),
    content: z.array(z.looseObject({ text: z.string() })).nullish(),
    encrypted_content: z.string().nullish(),
  }),
  item_reference: z.looseObject({ id: z.string() }),
};
const kinds = Object.keys(schemas).join(', ');

const itemHead = z.looseObject(
  { type: z.string().nullish(), role: z.string().nullish() },
  { error: `expected an item: an object with a type of ${kinds}` },
);

/**
 * One item of `input`, as it is kept and as the next steps read it; one without an id gets one.
 * @param at where it stands, as `input.0`
 * @throws ButterflyError REQUEST_INVALID; REQUEST_UNSUPPORTED for kinds of items and content that this server does not have;
 * NOT_FOUND for a reference to what is not kept
 */
export function readItem(value: unknown, at: string, recall: Recall): Item {
  const { type: given, role } = parseBody(itemHead, value, at);
  const type = given ?? (role == null ? '' : 'message');
  const status: ItemStatus = 'completed';
  switch (type) {
    case 'message':
      return readMessage(value, at);
    case 'function_call': {
      const call = parseBody(schemas.function_call, value, at);
      const { call_id, name, arguments: json } = call;
      return { type, id: call.id ?? newItemId('fc'), status, call_id, name, arguments: json };
    }
    case 'function_call_output': {
      const result = parseBody(schemas.function_call_output, value, at);
      const { call_id, output } = result;
      const text = textsOf(output, `${at}.output`).join('');
      return { type, id: result.id ?? newItemId('fco'), status, call_id, output: text };
    }
    case 'reasoning': {
      const thought = parseBody(schemas.reasoning, value, at);
      const { id: ownId, summary, content } = thought;
      const hidden = unsealed(thought.encrypted_content);
      const texts = content?.length ? content : hidden === null ? [] : [{ text: hidden }];
      return {
        type,
        id: ownId ?? newItemId('rs'),
        status,
        summary: (summary ?? []).map(({ text }) => ({ type: 'summary_text', text })),
        content: texts.map(({ text }) => ({ type: 'reasoning_text', text })),
      };
    }
    case 'item_reference':
      return recall.item(parseBody(schemas.item_reference, value, at).id, `${at}.id`);
    case '':
      throw invalid(`${at}.type`, `is missing; use one of ${kinds}`);
    default:
      throw unsupportedField(`${at}.type`, `items of this type are not supported; send ${kinds}`);
  }
}

function readMessage(value: unknown, at: string): Item {
  const message = parseBody(schemas.message, value, at);
  const { role } = message;
  const status: ItemStatus = 'completed';
  const texts = textsOf(message.content, `${at}.content`);
  const itemId = message.id ?? newItemId('msg');
  switch (role) {
    case 'user':
    case 'system':
    case 'developer':
      return {
        type: 'message',
        id: itemId,
        role,
        status,
        content: texts.map((text) => ({ type: 'input_text', text })),
      };
    case 'assistant':
      return { type: 'message', id: itemId, role, status, content: texts.map(outputText) };
    default:
      throw unsupportedField(
        `${at}.role`,
        'not a supported role; use system, developer, user, assistant, and items of type function_call_output for results of tools',
      );
  }
}

/** What stands in parts of text; what a model refused to say is text to the next one. */
function textsOf(content: z.output<typeof contents>, at: string): readonly string[] {
  if (typeof content === 'string') return [content];
  return content.map(({ type, text, refusal }, index) => {
    switch (type) {
      case 'input_text':
      case 'output_text':
      case 'text':
        if (text == null) throw invalid(`${at}.${index}.text`, 'expected a string');
        return text;
      case 'refusal':
        if (refusal == null) throw invalid(`${at}.${index}.refusal`, 'expected a string');
        return refusal;
      case 'input_image':
      case 'input_audio':
      case 'input_file':
        throw unsupportedField(
          `${at}.${index}.type`,
          `${type} is not supported; this server reads text alone, so send parts of type "input_text"`,
        );
      default:
        throw unsupportedField(
          `${at}.${index}.type`,
          'content of this type is not supported; send parts of type "input_text"',
        );
    }
  });
}

const readOfItem: ReadonlySet<string> = new Set([
  'type',
  'id',
  'role',
  'content',
  'status',
  'call_id',
  'name',
  'arguments',
  'output',
  'summary',
]);
const readOfPart: ReadonlySet<string> = new Set(['type', 'text', 'refusal', 'annotations', 'logprobs']);
/** The fields of items and their parts that change nothing, as `input[].phase`; the names come from the client. */
export function itemNamesWithoutEffect(items: readonly unknown[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const item of items) {
    if (names.size > limits.fieldsReportedMax) break;
    addOthers(names, 'input[]', item, readOfItem);
    const parts = typeof item === 'object' && item !== null && 'content' in item ? item.content : null;
    if (Array.isArray(parts))
      for (const each of parts as readonly unknown[]) addOthers(names, 'input[].content[]', each, readOfPart);
  }
  return names;
}

function addOthers(names: Set<string>, owner: string, fields: unknown, read: ReadonlySet<string>): void {
  if (typeof fields !== 'object' || fields === null) return;
  for (const [name, value] of Object.entries(fields)) {
    if (names.size > limits.fieldsReportedMax) return;
    if (read.has(name) || isAbsent(value)) continue;
    if (name === 'encrypted_content' && unsealed(value) !== null) continue;
    names.add(`${owner}.${shownWord(name)}`);
  }
}
