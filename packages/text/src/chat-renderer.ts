import { ButterflyError } from '@butterfly/common';
import type { Text } from '@butterfly/python';
import type { PlacedMessage } from './call-arguments.js';
import { withCallsApart, withIds, withToolNames } from './call-order.js';
import { type ChatMessage, type ChatOptions, type ChatTool, plainMessage } from './chat-message.js';
import { ChatTemplate, type SpecialTokenTexts, defaultChatTemplate, placed } from './chat-template.js';
import { cutAtMark, markedForContinuing } from './continuation.js';
import { withDescribedTools } from './described-tools.js';
import { type TemplateTraits, plainTraits } from './template-traits.js';
import { tryTemplate } from './template-trial.js';
import { templateValues } from './template-values.js';

/** Writes conversations as the template of a model has them, once it is known what that template can do. */
export class ChatRenderer {
  /** What is worth a warning about the template, each a sentence. */
  readonly findings: readonly string[];
  readonly #template: ChatTemplate | null;
  readonly #fault: ButterflyError | null;
  readonly #dropsSystem: boolean;
  readonly #takesSystem: boolean;
  readonly #traits: TemplateTraits;

  /**
   * A template that does not work throws nothing here: it costs chats alone, and is told of in `findings`.
   * @param source null where the model has none and the plain default is used
   */
  constructor(source: string | null, specialTokens: SpecialTokenTexts) {
    const opened = openTemplate(source, specialTokens);
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
  chatText(messages: readonly ChatMessage[], options: ChatOptions = {}): Text {
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

function openTemplate(
  source: string | null,
  specialTokens: SpecialTokenTexts,
): ChatTemplate | ButterflyError {
  try {
    return new ChatTemplate(source ?? defaultChatTemplate, specialTokens);
  } catch (error) {
    if (error instanceof ButterflyError) return error;
    throw error;
  }
}
