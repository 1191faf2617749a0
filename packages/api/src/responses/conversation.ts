import type { ChatMessage, ChatToolCall } from '@butterfly/text';
import type { Item } from './items.js';

/** An assistant's turn while its items come: thoughts, then words, then calls. */
interface Turn {
  readonly role: 'assistant';
  content: string | null;
  reasoning: string | null;
  readonly toolCalls: ChatToolCall[];
}

/**
 * The messages that a template renders. Thoughts, words and calls that follow each other are one message of the assistant,
 * as chats have it. What instructs at the very beginning becomes one message of the system, since many templates have room
 * for one alone.
 * @param instructions those of the request; null for none
 */
export function messagesOf(items: readonly Item[], instructions: string | null): readonly ChatMessage[] {
  const messages: ChatMessage[] = [];
  const leading: string[] = instructions === null ? [] : [instructions];
  let turn: Turn | null = null;
  const endTurn = () => {
    if (turn !== null) messages.push(messageOf(turn));
    turn = null;
  };
  for (const item of items) {
    if (isOfAssistant(item)) {
      const open: Turn | null = turn;
      if (open === null || !continues(open, item)) endTurn();
      turn = extended(turn ?? newTurn(), item);
      continue;
    }
    endTurn();
    if (item.type === 'function_call_output')
      messages.push({ role: 'tool', content: item.output, toolCallId: item.call_id });
    else {
      const text = item.content.map((part) => part.text).join('');
      if (item.role === 'user') messages.push({ role: 'user', content: text });
      else if (messages.length === 0) leading.push(text);
      // Templates know the name that `developer` had before.
      else messages.push({ role: 'system', content: text });
    }
  }
  endTurn();
  return leading.length === 0 ? messages : [{ role: 'system', content: leading.join('\n\n') }, ...messages];
}

type OfAssistant = Exclude<
  Item,
  { readonly type: 'function_call_output' } | { readonly role: 'user' | 'system' | 'developer' }
>;

const isOfAssistant = (item: Item): item is OfAssistant =>
  item.type === 'reasoning' ||
  item.type === 'function_call' ||
  (item.type === 'message' && item.role === 'assistant');

const newTurn = (): Turn => ({ role: 'assistant', content: null, reasoning: null, toolCalls: [] });

/** Whether the item can still be of this turn: nothing that stands before it in a message is over yet. */
function continues({ content, reasoning, toolCalls }: Turn, item: OfAssistant): boolean {
  switch (item.type) {
    case 'reasoning':
      return reasoning === null && content === null && toolCalls.length === 0;
    case 'message':
      return content === null && toolCalls.length === 0;
    case 'function_call':
      return true;
    default:
      return item satisfies never;
  }
}

function extended(turn: Turn, item: OfAssistant): Turn {
  switch (item.type) {
    case 'reasoning': {
      const own = item.content.length > 0 ? item.content : item.summary;
      return { ...turn, reasoning: own.map(({ text }) => text).join('\n\n') };
    }
    case 'message':
      return { ...turn, content: item.content.map(({ text }) => text).join('') };
    case 'function_call':
      return {
        ...turn,
        toolCalls: [...turn.toolCalls, { id: item.call_id, name: item.name, arguments: item.arguments }],
      };
    default:
      return item satisfies never;
  }
}

const messageOf = ({ role, content, reasoning, toolCalls }: Turn): ChatMessage => ({
  role,
  content: content ?? '',
  ...(reasoning === null || reasoning === '' ? {} : { reasoning }),
  ...(toolCalls.length === 0 ? {} : { toolCalls }),
});
