import { ButterflyError } from '@butterfly/common';
import { JinjaTemplate, valueOf } from '@butterfly/jinja';
import { TemplateFailure, Text, type Value } from '@butterfly/python';
import type { PlacedMessage } from './call-arguments.js';
import { type ChatMessage, type ChatTool, type PlainMessage, plainMessage } from './chat-message.js';
import { messageValues, toolValues } from './message-values.js';
import { type TemplateTraits, plainTraits } from './template-traits.js';

export interface SpecialTokenTexts {
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

export interface RenderOptions {
  /** Whether the text ends where the assistant's answer begins. */
  readonly addGenerationPrompt: boolean;
  readonly tools?: readonly ChatTool[] | undefined;
  /** Further names of the template; those of its inputs do not count. */
  readonly values?: Readonly<Record<string, unknown>> | undefined;
  readonly traits?: TemplateTraits | undefined;
}

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

  /** The names whose values it asks for, from outside or set inside. */
  get names(): ReadonlySet<string> {
    return this.#template.names;
  }

  /** As `renderText`, without the marks. */
  render(messages: readonly ChatMessage[], options: RenderOptions): string {
    return this.renderText(messages.map(plainMessage).map(placed), options).value;
  }

  /**
   * The conversation as the text that the model continues, with marks on what clients wrote: messages, tools, values.
   * @throws ButterflyError REQUEST_INVALID when the template refuses the conversation, with the template's own words, and
   * for arguments of calls that it cannot take apart; MODEL_UNSUPPORTED when the template fails at it
   */
  renderText(messages: readonly PlacedMessage[], options: RenderOptions): Text {
    const { addGenerationPrompt, tools = [], values = {}, traits = plainTraits } = options;
    const given = messageValues(messages, traits);
    try {
      return this.#template.render(
        new Map<string, Value>([
          ...Object.entries(values).map(
            ([name, value]) => [name, valueOf(value, (text) => Text.client(text))] as const,
          ),
          ['messages', given],
          ['tools', tools.length === 0 ? null : toolValues(tools)],
          ['documents', null],
          ['add_generation_prompt', addGenerationPrompt],
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

/** Says where a message is in the request. */
export const placed = (message: PlainMessage, place: number): PlacedMessage => ({ ...message, place });
