import { ButterflyError } from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';
import { Text } from '@butterfly/python';
import { ChatTemplate, defaultChatTemplate, type ChatMessage } from './chat-template.js';
import { SpecialTokens } from './special-tokens.js';
import { tryTemplate } from './template-trial.js';

interface PromptMakerOptions {
  readonly vocabulary: Vocabulary;
  /** Source of the chat template; null where the model has none and the plain default is used. */
  readonly chatTemplate: string | null;
  /** Whether special tokens are also read out of what messages say; by default they are not. */
  readonly readsSpecialInMessages?: boolean | undefined;
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

  /** A template that does not work throws nothing here: it costs chats alone, and is told of in `findings`. */
  constructor({ vocabulary, chatTemplate, readsSpecialInMessages = false }: PromptMakerOptions) {
    this.#vocabulary = vocabulary;
    this.#special = new SpecialTokens(vocabulary);
    this.#readsSpecialInMessages = readsSpecialInMessages;
    const opened = openTemplate(chatTemplate, vocabulary);
    if (opened instanceof ButterflyError) {
      [this.#template, this.#fault, this.#dropsSystem] = [null, opened, false];
      this.findings = [opened.message];
      return;
    }
    const trial = tryTemplate(opened);
    [this.#template, this.#fault, this.#dropsSystem] = [opened, trial.fault, trial.dropsSystem];
    this.findings = trial.findings;
  }

  /**
   * The conversation as text, up to where the assistant answers.
   * @throws ButterflyError MODEL_CORRUPT or MODEL_UNSUPPORTED for a template that does not work; REQUEST_INVALID where it
   * refuses the messages; REQUEST_UNSUPPORTED for content other than text, and system messages that it drops
   */
  chatText(messages: readonly ChatMessage[]): PromptText {
    if (this.#fault !== null || this.#template === null) throw this.#refusal();
    if (this.#dropsSystem && messages.some(({ role }) => role === 'system' || role === 'developer'))
      throw new ButterflyError(
        'REQUEST_UNSUPPORTED',
        'The chat template of this model drops system messages; say it in a message of the user, or start with --chat-template FILE.',
        { param: 'messages' },
      );
    return this.#template.renderText(messages, { addGenerationPrompt: true });
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
