import type { Interface } from 'node:readline';
import { type Clock, toButterflyError } from '@butterfly/common';
import type { ApiClient } from '../api-client/api-client.js';
import { errorLine, printAnswer, tell } from '../terminal.js';
import { answerParts, type ChatSettings } from './answers.js';
import {
  InputLines,
  chatHelp,
  emptyConversation,
  messagesOf,
  readCommand,
  withSystem,
  withTurn,
  withoutAnswer,
  withoutQuestion,
  type ChatCommand,
  type Conversation,
} from './conversation.js';
import { loadChat, saveChat } from './saved-chat.js';

interface ChatSessionOptions {
  readonly client: ApiClient;
  readonly lines: Interface;
  readonly settings: ChatSettings;
  /** Instructions to begin with. */
  readonly system: string | null;
  readonly clock: Clock;
}

/** A person and a model in turn, until the person leaves. */
export class ChatSession {
  #conversation: Conversation;
  #answering: AbortController | null = null;
  #isClosed = false;
  readonly #input = new InputLines();

  constructor(private readonly options: ChatSessionOptions) {
    this.#conversation = withSystem(emptyConversation, options.system);
  }

  /** Reads and answers. Ctrl-C stops an answer, or drops what is being typed, and ends where there is neither. */
  async run(): Promise<void> {
    const { lines } = this.options;
    lines.on('SIGINT', () => this.interrupt());
    lines.once('close', () => (this.#isClosed = true));
    this.#prompt();
    for await (const line of lines) {
      const input = this.#input.push(line);
      if (input !== null && !(await this.#obey(readCommand(input)))) break;
      this.#prompt();
    }
    lines.close();
  }

  /** Ends, in the middle of an answer too. */
  stop(): void {
    this.#answering?.abort();
    this.options.lines.close();
  }

  /** What Ctrl-C asks for. */
  interrupt(): void {
    if (this.#answering !== null) {
      this.#answering.abort();
      return;
    }
    if (!this.#input.isOpen && this.options.lines.line === '') {
      this.options.lines.close();
      return;
    }
    this.#input.drop();
    tell('\n');
    this.#prompt();
  }

  /** A pipe may have ended while what it said is still being answered, and newer Node takes no prompt then. */
  #prompt(): void {
    if (this.#isClosed) return;
    const { lines } = this.options;
    lines.setPrompt(this.#input.isOpen ? '... ' : '> ');
    lines.prompt();
  }

  /** False to end. */
  async #obey(command: ChatCommand): Promise<boolean> {
    switch (command.kind) {
      case 'say':
        await this.#answer(withTurn(this.#conversation, 'user', command.text));
        return true;
      case 'again':
        await this.#repeat();
        return true;
      case 'undo':
        this.#conversation = withoutQuestion(this.#conversation) ?? this.#conversation;
        return true;
      case 'system':
        this.#conversation = withSystem(this.#conversation, command.text);
        return true;
      case 'clear':
        this.#conversation = withSystem(emptyConversation, this.#conversation.system);
        return true;
      case 'save':
        await this.#told(async () => {
          await saveChat(command.path, this.#conversation);
          tell(`Saved to ${command.path}.\n`);
        });
        return true;
      case 'load':
        await this.#told(async () => {
          this.#conversation = await loadChat(command.path);
          tell(`${this.#conversation.turns.length} messages of ${command.path}.\n`);
        });
        return true;
      case 'help':
        tell(chatHelp);
        return true;
      case 'mistake':
        tell(`${command.message}\n`);
        return true;
      case 'nothing':
        return true;
      case 'exit':
        return false;
      default:
        return command satisfies never;
    }
  }

  async #repeat(): Promise<void> {
    const before = withoutAnswer(this.#conversation);
    if (before === null) tell('There is no answer yet.\n');
    else await this.#answer(before);
  }

  /** What was said of an answer that is stopped stays in the conversation; one that fails takes its question along. */
  async #answer(asked: Conversation): Promise<void> {
    const stopping = new AbortController();
    this.#answering = stopping;
    const said: string[] = [];
    try {
      await this.#print(asked, said, stopping.signal);
      this.#conversation = withTurn(asked, 'assistant', said.join(''));
    } catch (thrown) {
      const error = toButterflyError(thrown);
      printAnswer('\n');
      if (error.code !== 'CANCELLED') tell(errorLine(error));
      else if (said.length > 0) this.#conversation = withTurn(asked, 'assistant', said.join(''));
    } finally {
      this.#answering = null;
    }
  }

  async #print(asked: Conversation, said: string[], signal: AbortSignal): Promise<void> {
    const { client, settings, clock } = this.options;
    const startMs = clock.nowMs();
    let firstMs: number | null = null;
    let isThinking = false;
    for await (const part of answerParts(client, messagesOf(asked), settings, signal)) {
      firstMs ??= clock.nowMs();
      switch (part.kind) {
        case 'reasoning':
          if (!isThinking) tell('[thinking] ');
          isThinking = true;
          tell(part.text);
          break;
        case 'text':
          if (isThinking) tell('\n\n');
          isThinking = false;
          said.push(part.text);
          printAnswer(part.text);
          break;
        case 'end':
          printAnswer('\n');
          tell(speedLine(part.outputTokens, firstMs - startMs, clock.nowMs() - firstMs, part.isCut));
          break;
        default:
          part satisfies never;
      }
    }
  }

  async #told(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (thrown) {
      tell(errorLine(toButterflyError(thrown)));
    }
  }
}

function speedLine(tokens: number, firstMs: number, restMs: number, isCut: boolean): string {
  const perSecond =
    tokens > 1 && restMs > 0 ? `, then ${(((tokens - 1) * 1000) / restMs).toFixed(1)} per second` : '';
  const cut = isCut ? '; the context or --max-tokens ended it' : '';
  return `[${tokens} tokens, first after ${firstMs.toFixed(0)} ms${perSecond}${cut}]\n`;
}
