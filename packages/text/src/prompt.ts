import { ButterflyError } from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';
import { Text } from '@butterfly/python';
import type { PlacedMessage } from './call-arguments.js';
import { withCallsApart, withIds, withToolNames } from './call-order.js';
import { type ChatMessage, type ChatTool, plainMessage } from './chat-message.js';
import { ChatTemplate, defaultChatTemplate, placed } from './chat-template.js';
import { cutAtMark, markedForContinuing } from './continuation.js';
import { withDescribedTools } from './described-tools.js';
import { SpecialTokens } from './special-tokens.js';
import { type TemplateTraits, plainTraits } from './template-traits.js';
import { tryTemplate } from './template-trial.js';
import { type TemplateValues, templateValues } from './template-values.js';

interface PromptMakerOptions {
  readonly vocabulary: Vocabulary;
  /** Source of the chat template; null where the model has none and the plain default is used. */
  readonly chatTemplate: string | null;
  /** Of a reranker, with `{query}` and `{document}` in it; null by default, for models that read a pair of texts. */
  readonly rerankTemplate?: string | null;
  /** Whether special tokens are also read out of what messages say; by default they are not. */
  readonly readsSpecialInMessages?: boolean | undefined;
}

export interface ChatOptions {
  /** What the model may call; none by default. */
  readonly tools?: readonly ChatTool[];
  /** Further names for the template, such as `enable_thinking`. */
  readonly values?: TemplateValues;
  /** Goes on with the last message, an assistant's. */
  readonly continuesLast?: boolean;
}

/** A prompt as text: of one rule for whoever makes prompts, and marked with what of it a client wrote. */
export type PromptText = Text;

/**
 * Makes prompts of messages and texts: the one way for the API, the command line and whatever counts tokens.
 *
 * Chats: the template's own special tokens are read as such, the words of messages never (unless asked for). Texts: special
 * tokens are read, since whoever continues a text writes the format of the model by hand. Both: BOS is put first where the
 * vocabulary wants one and the text does not begin with it; EOS is never added, since the text is to go on.
 */
export class PromptMaker {
  /** What is worth a warning about the template, each a sentence. */
  readonly findings: readonly string[];
  readonly #vocabulary: Vocabulary;
  readonly #special: SpecialTokens;
  readonly #readsSpecialInMessages: boolean;
  readonly #template: ChatTemplate | null;
  readonly #fault: ButterflyError | null;
  readonly #dropsSystem: boolean;
  readonly #takesSystem: boolean;
  readonly #traits: TemplateTraits;
  readonly #source: string | null;
  readonly #rerankTemplate: string | null;

  /** A template that does not work throws nothing here: it costs chats alone, and is told of in `findings`. */
  constructor(options: PromptMakerOptions) {
    const { vocabulary, chatTemplate, readsSpecialInMessages = false } = options;
    this.#vocabulary = vocabulary;
    this.#special = new SpecialTokens(vocabulary);
    this.#readsSpecialInMessages = readsSpecialInMessages;
    this.#source = chatTemplate;
    this.#rerankTemplate = options.rerankTemplate ?? null;
    const opened = openTemplate(chatTemplate, vocabulary);
    if (opened instanceof ButterflyError) {
      [this.#template, this.#fault, this.#dropsSystem] = [null, opened, false];
      [this.#takesSystem, this.#traits] = [false, plainTraits];
      this.findings = [opened.message];
      return;
    }
    const trial = tryTemplate(opened);
    [this.#template, this.#fault, this.#dropsSystem] = [opened, trial.fault, trial.dropsSystem];
    [this.#takesSystem, this.#traits] = [trial.takesSystem, trial.traits];
    this.findings = trial.findings;
  }

  /** Source of the model's own template by which chats are rendered; null where the plain default is. */
  get chatTemplate(): string | null {
    return this.#source;
  }

  /** Whether words of ours tell the model of tools, since its template does not: calls then come as those words say. */
  get describesTools(): boolean {
    return this.#traits.tools === 'described';
  }

  /**
   * The conversation as text, up to where the assistant answers, or behind what it said where that is continued.
   * @throws ButterflyError MODEL_CORRUPT or MODEL_UNSUPPORTED for a template that does not work; REQUEST_INVALID where it
   * refuses the messages or cannot read arguments of calls; REQUEST_UNSUPPORTED for content other than text, system messages
   * that it drops, values that it does not ask for, and a last message that it does not let continue
   */
  chatText(messages: readonly ChatMessage[], options: ChatOptions = {}): PromptText {
    const { tools = [], values = {}, continuesLast = false } = options;
    const template = this.#template;
    if (this.#fault !== null || template === null) throw this.#refusal();
    if (this.#dropsSystem && messages.some(({ role }) => role === 'system' || role === 'developer'))
      throw new ButterflyError(
        'REQUEST_UNSUPPORTED',
        'The chat template of this model drops system messages; say it in a message of the user, or start with --chat-template FILE.',
        { param: 'messages' },
      );
    const conversation = this.#conversation(messages.map(plainMessage).map(placed), tools);
    const rendering = {
      addGenerationPrompt: !continuesLast,
      tools: this.describesTools ? [] : tools,
      values: templateValues(values, template.names),
      traits: this.#traits,
    };
    if (!continuesLast) return template.renderText(conversation, rendering);
    return cutAtMark(template.renderText(markedForContinuing(conversation), rendering), conversation);
  }

  /** As the template knows conversations. */
  #conversation(messages: readonly PlacedMessage[], tools: readonly ChatTool[]): readonly PlacedMessage[] {
    if (this.describesTools) return withDescribedTools(messages, tools, this.#takesSystem);
    const { callIds, hasManyCalls } = this.#traits;
    const named = withToolNames(messages);
    const apart = hasManyCalls ? named : withCallsApart(named);
    return withIds(apart, callIds);
  }

  /** A question and a document as a reranker was taught to read them; null where its file says nothing of that. */
  rerankText(query: string, document: string): PromptText | null {
    const template = this.#rerankTemplate;
    if (template === null) return null;
    const texts = new Map([
      ['{query}', query],
      ['{document}', document],
    ]);
    const parts = template.split(/(\{query\}|\{document\})/);
    return Text.concat(
      parts.map((part) => {
        const text = texts.get(part);
        return text === undefined ? Text.own(part) : Text.client(text);
      }),
    );
  }

  /** A text of the client that is continued as it is. */
  plainText(text: string): PromptText {
    return Text.own(text);
  }

  /** The tokens of a prompt, with BOS. */
  tokens(text: PromptText): Int32Array {
    const vocabulary = this.#vocabulary;
    const tokens = this.#readsSpecialInMessages
      ? vocabulary.tokenize(text.value, { addSpecial: false, parseSpecial: true })
      : this.#special.tokenize(text);
    if (!vocabulary.addsBos || vocabulary.bos === null || tokens[0] === vocabulary.bos) return tokens;
    const withBos = new Int32Array(tokens.length + 1);
    withBos[0] = vocabulary.bos;
    withBos.set(tokens, 1);
    return withBos;
  }

  #refusal(): ButterflyError {
    const fault = this.#fault;
    if (fault === null) return new ButterflyError('INTERNAL', 'There is no chat template.');
    // What the template said of the samples is nothing that a client did.
    const code = fault.code === 'MODEL_CORRUPT' ? 'MODEL_CORRUPT' : 'MODEL_UNSUPPORTED';
    return new ButterflyError(
      code,
      `Chats do not work with the chat template of this model; completions do, and starting with --chat-template FILE uses another one. ${fault.message}`,
      { cause: fault },
    );
  }
}

function openTemplate(source: string | null, vocabulary: Vocabulary): ChatTemplate | ButterflyError {
  const text = (token: number | null): string => (token === null ? '' : vocabulary.tokenText(token));
  try {
    return new ChatTemplate(source ?? defaultChatTemplate, {
      bosToken: text(vocabulary.bos),
      eosToken: text(vocabulary.eos),
    });
  } catch (error) {
    if (error instanceof ButterflyError) return error;
    throw error;
  }
}
