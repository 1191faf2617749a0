import { ButterflyError, shownWord } from '@butterfly/common';
import type { ChatMessage, ChatToolCall } from '@butterfly/text';
import { z } from 'zod';

const block = z.looseObject({ type: z.string() });
const content = z.union([z.string(), z.array(block)], {
  error: 'expected a string or an array of {"type": "text", "text": …}',
});

export const anthropicMessage = z.looseObject({
  role: z.enum(['user', 'assistant', 'system'], { error: 'not a known role; use user or assistant' }),
  content,
});

/** The instructions before the conversation. */
export const systemText = content;

type Block = z.output<typeof block>;
type Message = z.output<typeof anthropicMessage>;

/**
 * The conversation as templates know it: results of tools become messages of their own, before what the user says beside
 * them, and what was thought and called goes with the assistant's text.
 * @throws ButterflyError REQUEST_INVALID, REQUEST_UNSUPPORTED naming the part
 */
export function conversation(
  system: z.output<typeof systemText> | null | undefined,
  messages: readonly Message[],
): ChatMessage[] {
  const instructions = system == null ? '' : textOf(system, 'system');
  return [
    ...(instructions === '' ? [] : [{ role: 'system', content: instructions }]),
    ...messages.flatMap((message, index) => chatMessages(message, `messages.${index}.content`)),
  ];
}

function chatMessages({ role, content: said }: Message, path: string): ChatMessage[] {
  if (typeof said === 'string' || role === 'system') return [{ role, content: textOf(said, path) }];
  return role === 'user' ? userMessages(said, path) : [assistantMessage(said, path)];
}

function userMessages(blocks: readonly Block[], path: string): ChatMessage[] {
  const results: ChatMessage[] = [];
  const texts: string[] = [];
  for (const [index, each] of blocks.entries()) {
    const at = `${path}.${index}`;
    if (each.type !== 'tool_result') texts.push(blockText(each, at));
    else {
      const result = resultSchema.safeParse(each);
      if (!result.success) throw invalidPart(at, 'a tool_result needs a "tool_use_id" and text as "content"');
      const { tool_use_id: toolCallId, content: given, is_error: isError } = result.data;
      const text = given == null ? '' : textOf(given, `${at}.content`);
      results.push({ role: 'tool', content: isError === true ? `Error: ${text}` : text, toolCallId });
    }
  }
  return texts.length === 0 ? results : [...results, { role: 'user', content: texts.join('') }];
}

const resultSchema = z.looseObject({
  tool_use_id: z.string(),
  content: content.nullish(),
  is_error: z.boolean().nullish(),
});

const useSchema = z.looseObject({ id: z.string(), name: z.string(), input: z.unknown() });

function assistantMessage(blocks: readonly Block[], path: string): ChatMessage {
  const texts: string[] = [];
  const thoughts: string[] = [];
  const toolCalls: ChatToolCall[] = [];
  for (const [index, each] of blocks.entries()) {
    const at = `${path}.${index}`;
    if (each.type === 'thinking') thoughts.push(typeof each.thinking === 'string' ? each.thinking : '');
    else if (each.type === 'tool_use') {
      const use = useSchema.safeParse(each);
      if (!use.success) throw invalidPart(at, 'a tool_use needs "id", "name" and "input"');
      const { id, name, input } = use.data;
      toolCalls.push({ id, name, arguments: JSON.stringify(input ?? {}) });
    } else if (each.type !== 'redacted_thinking') texts.push(blockText(each, at));
  }
  return {
    role: 'assistant',
    content: texts.join(''),
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
    ...(thoughts.length === 0 ? {} : { reasoning: thoughts.join('') }),
  };
}

function textOf(said: string | readonly Block[], path: string): string {
  if (typeof said === 'string') return said;
  return said.map((each, index) => blockText(each, `${path}.${index}`)).join('');
}

function blockText(each: Block, path: string): string {
  if (each.type !== 'text')
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      `${path}: content of type "${shownWord(each.type)}" is not supported; send parts of type "text".`,
      { param: `${path}.type` },
    );
  if (typeof each.text !== 'string') throw invalidPart(path, 'a part of type "text" needs a "text" string');
  return each.text;
}

function invalidPart(path: string, what: string): ButterflyError {
  return new ButterflyError('REQUEST_INVALID', `${path}: ${what}.`, { param: path });
}
