import { readFile, writeFile } from 'node:fs/promises';
import { ButterflyError, limits } from '@butterfly/common';
import { z } from 'zod';
import { emptyConversation, messagesOf, withSystem, withTurn, type Conversation } from './conversation.js';

const savedSchema = z.object({
  messages: z
    .array(z.object({ role: z.enum(['system', 'user', 'assistant']), content: z.string() }))
    .max(limits.messagePartsMax),
});

/** Writes a conversation as the messages of a request. @throws ButterflyError CONFIG_INVALID */
export async function saveChat(path: string, conversation: Conversation): Promise<void> {
  const text = `${JSON.stringify({ messages: messagesOf(conversation) }, null, 2)}\n`;
  await writeFile(path, text).catch((cause: unknown) => {
    throw unusable(path, 'cannot be written', cause);
  });
}

/** Reads what `saveChat` wrote, or the messages of any request of text. @throws ButterflyError CONFIG_INVALID */
export async function loadChat(path: string): Promise<Conversation> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw unusable(path, 'cannot be read', cause);
  });
  const parsed = savedSchema.safeParse(jsonOf(text));
  if (!parsed.success) throw unusable(path, 'has no {"messages": [{"role": …, "content": …}]}', parsed.error);
  return parsed.data.messages.reduce(
    (conversation, { role, content }) =>
      role === 'system' ? withSystem(conversation, content) : withTurn(conversation, role, content),
    emptyConversation,
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function unusable(path: string, what: string, cause: unknown): ButterflyError {
  const reason = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  return new ButterflyError('CONFIG_INVALID', `${path} ${what}${reason}; name another file.`, { cause });
}
