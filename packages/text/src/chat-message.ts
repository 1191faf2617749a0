import { ButterflyError, shownWord } from '@butterfly/common';
import { Text } from '@butterfly/python';

/** A part of a message in OpenAI's form; `{type: 'text', text}` is the one that models here understand. */
interface ChatContentPart {
  readonly type: string;
  readonly text?: string | undefined;
}

/** A call of a tool in an earlier answer. */
export interface ChatToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text as the model wrote it. */
  readonly arguments: string;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string | readonly ChatContentPart[];
  readonly name?: string | undefined;
  /** Of an assistant. */
  readonly toolCalls?: readonly ChatToolCall[] | undefined;
  /** Of a tool: the call that this is the result of. */
  readonly toolCallId?: string | undefined;
  /** What an assistant thought before it answered; templates that know such drop or keep it as the model was taught. */
  readonly reasoning?: string | undefined;
}

/** A tool as a template shows it to the model. */
export interface ChatTool {
  readonly name: string;
  readonly description: string | null;
  /** JSON schema of its arguments, an object's; null for no arguments. */
  readonly parameters: Readonly<Record<string, unknown>> | null;
}

/** A message with its content in one text, which remembers who wrote what of it. */
export interface PlainMessage extends Omit<ChatMessage, 'content'> {
  readonly content: Text;
}

/** @throws ButterflyError REQUEST_UNSUPPORTED for content other than text; REQUEST_INVALID for a text part without text */
export function plainMessage(message: ChatMessage, index: number): PlainMessage {
  return { ...message, content: Text.client(textOf(message, index)) };
}

function textOf(message: ChatMessage, messageIndex: number): string {
  if (typeof message.content === 'string') return message.content;
  return message.content
    .map((part, partIndex) => {
      const param = `messages.${messageIndex}.content.${partIndex}`;
      if (part.type !== 'text')
        throw new ButterflyError(
          'REQUEST_UNSUPPORTED',
          `${param}: content of type "${shownWord(part.type)}" is not supported; send parts of type "text".`,
          { param: `${param}.type` },
        );
      if (part.text === undefined)
        throw new ButterflyError(
          'REQUEST_INVALID',
          `${param}: a part of type "text" needs a "text" string.`,
          { param: `${param}.text` },
        );
      return part.text;
    })
    .join('');
}

export interface ChatOptions {
  /** What the model may call; none by default. */
  readonly tools?: readonly ChatTool[];
  /** Further names for the template, such as `enable_thinking`. */
  readonly values?: Readonly<Record<string, unknown>>;
  /** Goes on with the last message, an assistant's. */
  readonly continuesLast?: boolean;
}
