import type { Vocabulary } from '@butterfly/ggml';
import { Text } from '@butterfly/python';
import type { ChatMessage, ChatOptions } from './chat-message.js';
import { ChatRenderer } from './chat-renderer.js';
import { type RenderingOptions, RenderingThread } from './rendering/rendering-thread.js';
import { SpecialTokens } from './special-tokens.js';

interface PromptMakerOptions {
  readonly vocabulary: Vocabulary;
  /** Source of the chat template; null where the model has none and the plain default is used. */
  readonly chatTemplate: string | null;
  /** Of a reranker, with `{query}` and `{document}` in it; null by default, for models that read a pair of texts. */
  readonly rerankTemplate?: string | null;
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
  readonly #renderer: ChatRenderer;
  readonly #rendering: RenderingOptions;
  readonly #source: string | null;
  readonly #rerankTemplate: string | null;
  #thread: RenderingThread | null = null;

  /** A template that does not work throws nothing here: it costs chats alone, and is told of in `findings`. */
  constructor(options: PromptMakerOptions) {
    const { vocabulary, chatTemplate, readsSpecialInMessages = false } = options;
    this.#vocabulary = vocabulary;
    this.#special = new SpecialTokens(vocabulary);
    this.#readsSpecialInMessages = readsSpecialInMessages;
    this.#source = chatTemplate;
    this.#rerankTemplate = options.rerankTemplate ?? null;
    const text = (token: number | null): string => (token === null ? '' : vocabulary.tokenText(token));
    const specialTokens = { bosToken: text(vocabulary.bos), eosToken: text(vocabulary.eos) };
    this.#rendering = { source: chatTemplate, specialTokens };
    this.#renderer = new ChatRenderer(chatTemplate, specialTokens);
    this.findings = this.#renderer.findings;
  }

  /** Source of the model's own template by which chats are rendered; null where the plain default is. */
  get chatTemplate(): string | null {
    return this.#source;
  }

  /** Whether words of ours tell the model of tools, since its template does not: calls then come as those words say. */
  get describesTools(): boolean {
    return this.#renderer.describesTools;
  }

  /**
   * The conversation as text, up to where the assistant answers, or behind what it said where that is continued.
   * @throws ButterflyError as `ChatRenderer.chatText` does
   */
  chatText(messages: readonly ChatMessage[], options: ChatOptions = {}): PromptText {
    return this.#renderer.chatText(messages, options);
  }

  /**
   * The same by a thread, so that nothing else waits for a template, which may be a stranger's.
   * @throws ButterflyError the same, and MODEL_UNSUPPORTED for one that takes over `deadlines.templateMs`
   */
  chatTextApart(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<PromptText> {
    this.#thread ??= new RenderingThread(this.#rendering);
    return this.#thread.chatText(messages, options);
  }

  /** Ends the thread, if there is one. */
  async close(): Promise<void> {
    await this.#thread?.close();
    this.#thread = null;
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
}
