import { limits } from '@butterfly/common';
import type { ChatMessage, ChatToolCall } from '@butterfly/text';
import { z } from 'zod';
import { isAbsent, refused, shapeOf, unsupported, withoutEffect } from '../fields/field-kinds.js';
import type { Fields } from '../fields/field-kinds.js';

const knownRoles: readonly string[] = ['system', 'developer', 'user', 'assistant', 'tool'];
const roleNames = knownRoles.join(', ');

/**
 * What a message may have beside what the template gets, most of it because clients send back the answers of others.
 * Any other field is let through as one without effect: it goes no further than here.
 */
export const messageFields = {
  parsed: withoutEffect(),
  annotations: withoutEffect(),
  refusal: refused(),
  audio: refused(),
  images: refused('[]'),
  function_call: refused(),
  prefix: refused('false'),
  partial: refused('false'),
} satisfies Fields;

/** A call of an earlier answer; some clients send arguments as the object that they made of them. */
const toolCall = z.looseObject({
  id: z.string().nullish(),
  type: z
    .string()
    .refine((type) => type === 'function', {
      params: unsupported,
      error: 'not supported; only calls of type "function" are',
    })
    .nullish(),
  function: z.looseObject({
    name: z.string(),
    arguments: z.union([z.string(), z.record(z.string(), z.unknown())], {
      error: 'expected the JSON text of an object',
    }),
  }),
});

const withText = '{"type": "text", "text": …}';

export const chatMessage = z
  .looseObject({
    role: z
      .string()
      .refine((role) => role !== '', { error: `is blank; use ${roleNames}` })
      .refine((role) => role === '' || knownRoles.includes(role), {
        params: unsupported,
        error: `not a supported role; use ${roleNames}`,
      }),
    ...shapeOf(messageFields),
    content: z
      .union([z.string(), z.array(z.looseObject({ type: z.string(), text: z.string().nullish() }))], {
        error: `expected a string or an array of ${withText}`,
      })
      .nullish(),
    name: z.string().nullish(),
    tool_calls: z.array(toolCall).nullish(),
    tool_call_id: z.string().nullish(),
    reasoning_content: z.unknown().optional(),
    reasoning: z.unknown().optional(),
  })
  // An assistant may have said nothing, as when it only called a tool; nobody else sends nothing.
  .refine(({ role, content }) => role === 'assistant' || content != null, {
    path: ['content'],
    error: `expected a string or an array of ${withText}`,
  })
  .refine(({ role, tool_call_id: id }) => role !== 'tool' || !isAbsent(id), {
    path: ['tool_call_id'],
    error: 'expected the id of the call that this is the result of',
  });

type ParsedMessage = z.output<typeof chatMessage>;

/** What the template gets: what changes nothing must not reach it. */
export function templateMessage(message: ParsedMessage): ChatMessage {
  const { role, content, name, tool_calls: calls, tool_call_id: callId } = message;
  const reasoning = role === 'assistant' ? reasoningOf(message) : null;
  return {
    // Templates know the name that `developer` had before.
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : (content ?? []).map(templatePart),
    ...(isAbsent(name) ? {} : { name: name ?? undefined }),
    ...(role === 'assistant' && calls != null && calls.length > 0 ? { toolCalls: calls.map(callOf) } : {}),
    ...(role === 'tool' && callId != null ? { toolCallId: callId } : {}),
    ...(reasoning === null ? {} : { reasoning }),
  };
}

/** Some servers have a shorter name for it. */
function reasoningOf({ reasoning_content: content, reasoning }: ParsedMessage): string | null {
  const given = isAbsent(content) ? reasoning : content;
  return typeof given === 'string' && given !== '' ? given : null;
}

function callOf({ id, function: { name, arguments: given } }: z.output<typeof toolCall>): ChatToolCall {
  return { id: id ?? '', name, arguments: typeof given === 'string' ? given : JSON.stringify(given) };
}

function templatePart({ type, text }: { readonly type: string; readonly text?: string | null | undefined }) {
  if (text != null) return { type, text };
  // Null says that there is none; a text that is not there at all is a mistake.
  return type === 'text' && text === null ? { type, text: '' } : { type };
}

const readOfMessage: readonly string[] = [
  'role',
  'content',
  'name',
  'tool_calls',
  'tool_call_id',
  'reasoning_content',
  'reasoning',
];
const readOfPart: readonly string[] = ['type', 'text'];
const nameInHeader = new RegExp(`^[\\w$.-]{1,${limits.fieldNameCharactersMax}}$`);

/** The fields of messages and their parts that change nothing, as `messages[].id`; the names come from the client. */
export function messageNamesWithoutEffect(messages: readonly ParsedMessage[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const message of messages) {
    if (names.size > limits.fieldsReportedMax) break;
    addOthers(names, 'messages[]', message, readOfMessage);
    if (Array.isArray(message.content))
      for (const part of message.content) addOthers(names, 'messages[].content[]', part, readOfPart);
  }
  return names;
}

function addOthers(names: Set<string>, owner: string, fields: object, read: readonly string[]): void {
  for (const [name, value] of Object.entries(fields)) {
    if (names.size > limits.fieldsReportedMax) return;
    if (read.includes(name) || isAbsent(value)) continue;
    names.add(`${owner}.${nameInHeader.test(name) ? name : '(another)'}`);
  }
}
