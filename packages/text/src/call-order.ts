import { createHash } from 'node:crypto';
import type { PlacedMessage } from './call-arguments.js';
import type { ChatToolCall } from './chat-message.js';
import type { CallIds } from './template-traits.js';

/** Results with the name of the tool that was called, which some templates ask for, where the client left it out. */
export function withToolNames(messages: readonly PlacedMessage[]): PlacedMessage[] {
  const names = new Map<string, string>();
  return messages.map((message) => {
    for (const { id, name } of message.toolCalls ?? []) names.set(id, name);
    const name = message.toolCallId === undefined ? undefined : names.get(message.toolCallId);
    return message.role === 'tool' && message.name === undefined && name !== undefined
      ? { ...message, name }
      : message;
  });
}

/** Calls and results under ids that the template can read; the same for the same. */
export function withIds(messages: readonly PlacedMessage[], form: CallIds): readonly PlacedMessage[] {
  if (form === 'any') return messages;
  const named = new Map<string, string>();
  const idOf = (id: string): string => (form === 'short' ? shortId(id) : (named.get(id) ?? id));
  let calls = 0;
  return messages.map((message) => {
    for (const { id, name } of message.toolCalls ?? []) named.set(id, namedId(id, name, calls++));
    return {
      ...message,
      ...(message.toolCallId === undefined ? {} : { toolCallId: idOf(message.toolCallId) }),
      ...(message.toolCalls === undefined
        ? {}
        : { toolCalls: message.toolCalls.map((call) => ({ ...call, id: idOf(call.id) })) }),
    };
  });
}

const shortId = (id: string): string =>
  /^[a-zA-Z0-9]{9}$/.test(id) ? id : createHash('sha256').update(id).digest('hex').slice(0, 9);

const namedId = (id: string, name: string, index: number): string =>
  id.startsWith(`functions.${name}:`) ? id : `functions.${name}:${index}`;

/** A message for each call, with its result behind it, for templates that show one call of a message. */
export function withCallsApart(messages: readonly PlacedMessage[]): PlacedMessage[] {
  const ordered: PlacedMessage[] = [];
  for (let at = 0; at < messages.length; at++) {
    const message = messages[at];
    if (message === undefined) continue;
    const calls = message.toolCalls ?? [];
    if (calls.length < 2) {
      ordered.push(message);
      continue;
    }
    const results: PlacedMessage[] = [];
    for (let next = messages[at + 1]; next?.role === 'tool'; next = messages[at + 1]) {
      results.push(next);
      at++;
    }
    ordered.push(...callsApart(message, calls, results));
  }
  return ordered;
}

function callsApart(
  message: PlacedMessage,
  calls: readonly ChatToolCall[],
  results: readonly PlacedMessage[],
): PlacedMessage[] {
  const { content, reasoning, ...rest } = message;
  const left = new Set(results);
  const apart = calls.flatMap((call, index) => {
    const own = results.filter((result) => result.toolCallId === call.id && left.has(result));
    for (const result of own) left.delete(result);
    const first = index === 0 ? { content, reasoning } : { content: content.slice(0, 0) };
    return [{ ...rest, ...first, toolCalls: [call] }, ...own];
  });
  return [...apart, ...left];
}
