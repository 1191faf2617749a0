import { limits } from '@butterfly/common';
import type { ChatMessage } from '@butterfly/text';
import { z } from 'zod';
import { isAbsent, refused, shapeOf, unsupported, withoutEffect } from '../fields/field-kinds.js';
import type { Fields } from '../fields/field-kinds.js';

const knownRoles: readonly string[] = ['system', 'developer', 'user', 'assistant'];
const roleNames = knownRoles.join(', ');

/**
 * What a message may have beside what the template gets, most of it because clients send back the answers of others.
 * Any other field is let through as one without effect: it goes no further than here.
 */
export const messageFields = {
  parsed: withoutEffect(),
  annotations: withoutEffect(),
  reasoning_content: withoutEffect(),
  refusal: refused(),
  audio: refused(),
  images: refused('[]'),
  tool_calls: refused('[]'),
  function_call: refused(),
  prefix: refused('false'),
  partial: refused('false'),
} satisfies Fields;

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
  })
  // An assistant may have said nothing, as when it only called a tool; nobody else sends nothing.
  .refine(({ role, content }) => role === 'assistant' || content != null, {
    path: ['content'],
    error: `expected a string or an array of ${withText}`,
  });

type ParsedMessage = z.output<typeof chatMessage>;

/** What the template gets: what changes nothing must not reach it. */
export function templateMessage({ role, content, name }: ParsedMessage): ChatMessage {
  return {
    // Templates know the name that `developer` had before.
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : (content ?? []).map(templatePart),
    ...(isAbsent(name) ? {} : { name: name ?? undefined }),
  };
}

function templatePart({ type, text }: { readonly type: string; readonly text?: string | null | undefined }) {
  if (text != null) return { type, text };
  // Null says that there is none; a text that is not there at all is a mistake.
  return type === 'text' && text === null ? { type, text: '' } : { type };
}

const readOfMessage: readonly string[] = ['role', 'content', 'name'];
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
