import { Template } from '@huggingface/jinja';
import { ButterflyError } from '@butterfly/common';

/** A part of a message in OpenAI's form; `{type: 'text', text}` is the one that models here understand. */
interface ChatContentPart {
  readonly type: string;
  readonly text?: string | undefined;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string | readonly ChatContentPart[];
  readonly name?: string | undefined;
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

/** The template by which a model was taught to read conversations (`tokenizer.chat_template`, Jinja). */
export class ChatTemplate {
  readonly #template: Template;
  readonly #specialTokens: SpecialTokenTexts;

  /** @throws ButterflyError MODEL_CORRUPT when the source is not a template. */
  constructor(source: string, specialTokens: SpecialTokenTexts) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new ButterflyError(
        'MODEL_CORRUPT',
        `The chat template of the model does not parse (${messageOf(cause)}); correct tokenizer.chat_template in the file.`,
        { cause },
      );
    }
    this.#specialTokens = specialTokens;
  }

  /**
   * The conversation as the text that the model continues.
   * @throws ButterflyError REQUEST_UNSUPPORTED for content other than text; REQUEST_INVALID when the
   * template refuses the conversation, with the template's own words.
   */
  render(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): string {
    const plainMessages = messages.map((message, index) => ({ ...message, content: textOf(message, index) }));
    try {
      return this.#template.render({
        messages: plainMessages,
        add_generation_prompt: options.addGenerationPrompt,
        bos_token: this.#specialTokens.bosToken,
        eos_token: this.#specialTokens.eosToken,
      });
    } catch (cause) {
      throw new ButterflyError(
        'REQUEST_INVALID',
        `The chat template of the model refuses these messages: ${messageOf(cause)}`,
        { cause, param: 'messages' },
      );
    }
  }
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

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
