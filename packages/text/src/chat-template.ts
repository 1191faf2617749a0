import { ButterflyError } from '@butterfly/common';
import { JinjaTemplate, valueOf } from '@butterfly/jinja';
import { Dict, TemplateFailure, Text, type Value, list } from '@butterfly/python';

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

interface SpecialTokenTexts {
  /** Text of the BOS token, empty where the model has none. */
  readonly bosToken: string;
  /** Text of the EOS token, empty where the model has none. */
  readonly eosToken: string;
}

/**
 * Used when a GGUF file brings no template: `User: …`, blank line, `Assistant:`. Plain words, because a
 * model without a template was never trained on markers such as `<|im_start|>` and would spell them out.
 */
export const defaultChatTemplate = [
  '{% for message in messages %}',
  '{{ message.role | capitalize }}: {{ message.content | trim }}\n\n',
  '{% endfor %}',
  '{% if add_generation_prompt %}Assistant:{% endif %}',
].join('');

/** Roles whose names templates build their markers of; any other name counts as the client's words. */
const ownRoles: ReadonlySet<string> = new Set([
  'system',
  'developer',
  'user',
  'assistant',
  'tool',
  'function',
  'ipython',
]);

const remedy = 'start with --chat-template FILE to use another one';

/** The template by which a model was taught to read conversations (`tokenizer.chat_template`, Jinja). */
export class ChatTemplate {
  readonly #template: JinjaTemplate;

  /** @throws ButterflyError MODEL_CORRUPT when the source is not a template; MODEL_UNSUPPORTED for a construct not built here. */
  constructor(
    readonly source: string,
    private readonly specialTokens: SpecialTokenTexts,
  ) {
    try {
      this.#template = new JinjaTemplate(source);
    } catch (cause) {
      if (!(cause instanceof TemplateFailure)) throw cause;
      throw new ButterflyError(
        cause.kind === 'unsupported' ? 'MODEL_UNSUPPORTED' : 'MODEL_CORRUPT',
        `The chat template of the model cannot be read (${cause.message}); ${remedy}.`,
        { cause },
      );
    }
  }

  /** As `renderText`, without the marks. */
  render(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): string {
    return this.renderText(messages, options).value;
  }

  /**
   * The conversation as the text that the model continues, with marks on what the messages say.
   * @throws ButterflyError REQUEST_UNSUPPORTED for content other than text; REQUEST_INVALID when the template refuses
   * the conversation, with the template's own words; MODEL_UNSUPPORTED when the template fails at it
   */
  renderText(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): Text {
    const plainMessages = messages.map((message, index) => ({ ...message, content: textOf(message, index) }));
    try {
      return this.#template.render(
        new Map<string, Value>([
          ['messages', list(plainMessages.map(messageValue))],
          ['tools', null],
          ['documents', null],
          ['add_generation_prompt', options.addGenerationPrompt],
          ['bos_token', Text.own(this.specialTokens.bosToken)],
          ['eos_token', Text.own(this.specialTokens.eosToken)],
        ]),
      );
    } catch (cause) {
      if (!(cause instanceof TemplateFailure)) throw cause;
      if (cause.kind === 'raised')
        throw new ButterflyError(
          'REQUEST_INVALID',
          `The chat template of the model refuses these messages: ${cause.message}`,
          { cause, param: 'messages' },
        );
      throw new ButterflyError(
        'MODEL_UNSUPPORTED',
        `The chat template of the model fails at this conversation (${cause.message}), which is no fault of the messages; ${remedy}.`,
        { cause },
      );
    }
  }
}

function messageValue(message: Readonly<Record<string, unknown>>): Value {
  return new Dict(
    Object.entries(message)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => {
        const isOwn = key === 'role' && typeof value === 'string' && ownRoles.has(value);
        return [Text.own(key), valueOf(value, (text) => (isOwn ? Text.own(text) : Text.client(text)))];
      }),
  );
}

function textOf(message: ChatMessage, messageIndex: number): string {
  if (typeof message.content === 'string') return message.content;
  return message.content
    .map((part, partIndex) => {
      const param = `messages.${messageIndex}.content.${partIndex}`;
      if (part.type !== 'text')
        throw new ButterflyError(
          'REQUEST_UNSUPPORTED',
          `${param}: content of type "${part.type}" is not supported; send parts of type "text".`,
          { param: `${param}.type` },
        );
      if (part.text === undefined)
        throw new ButterflyError(
          'REQUEST_INVALID',
          `${param}: a part of type "text" needs a "text" string.`,
          {
            param: `${param}.text`,
          },
        );
      return part.text;
    })
    .join('');
}
