import { type Api, failureOf } from '../state/api.js';
import { keep, readKept } from '../state/settings.js';
import { eventsOf } from '../state/sse.js';
import {
  afterEvent,
  type Answer,
  bodyOf,
  type Chat,
  type ChatMessage,
  type ChatSettings,
  emptyAnswer,
  openCalls,
  plainSettings,
  readChats,
  storedChats,
} from './conversation.js';

const storeName = 'butterfly-chats';

/** All chats of this browser, and the answers that are coming; they go on while another view is looked at. */
export class ChatDesk {
  #chats: readonly Chat[];
  #openId: string;
  /** By chat. */
  readonly #running = new Map<string, AbortController>();
  readonly #listeners = new Set<() => void>();
  #frame: number | null = null;

  constructor(private readonly api: Api) {
    this.#chats = readChats(readKept('local', storeName));
    const [first] = this.#chats;
    this.#openId = first?.id ?? '';
    if (!first) this.begin();
  }

  get chats(): readonly Chat[] {
    return this.#chats;
  }

  get open(): Chat {
    const found = this.#chats.find(({ id }) => id === this.#openId) ?? this.#chats[0];
    return found ?? this.begin();
  }

  get isAnswering(): boolean {
    return this.#running.has(this.#openId);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Opens a new chat with the settings of the one before. */
  begin(): Chat {
    const settings = this.#chats.find(({ id }) => id === this.#openId)?.settings ?? plainSettings;
    const chat: Chat = { id: randomId(), changedMs: Date.now(), settings, messages: [] };
    this.#chats = [chat, ...this.#chats.filter(({ messages }) => messages.length > 0)];
    this.#openId = chat.id;
    this.#tell();
    return chat;
  }

  choose(id: string): void {
    this.#openId = id;
    this.#tell();
  }

  delete(id: string): void {
    this.#running.get(id)?.abort();
    this.#chats = this.#chats.filter((chat) => chat.id !== id);
    if (this.#chats.length === 0) this.begin();
    if (id === this.#openId) this.#openId = this.#chats[0]?.id ?? '';
    this.#save();
  }

  deleteAll(): void {
    for (const running of this.#running.values()) running.abort();
    this.#chats = [];
    this.begin();
    this.#save();
  }

  set(settings: Partial<ChatSettings>): void {
    this.#change(this.#openId, (chat) => ({ ...chat, settings: { ...chat.settings, ...settings } }));
    this.#save();
  }

  send(text: string): void {
    this.#add({ role: 'user', text });
    void this.#answer(this.#openId);
  }

  /** Gives the result of a call, and asks on when none is left without one. */
  giveResult(callId: string, name: string, text: string): void {
    this.#add({ role: 'tool', callId, name, text });
    if (openCalls(this.open.messages).length === 0) void this.#answer(this.#openId);
  }

  /** Asks for the last answer anew. */
  regenerate(): void {
    if (this.isAnswering) return;
    this.#change(this.#openId, (chat) => ({
      ...chat,
      messages: chat.messages.slice(0, chat.messages.findLastIndex(({ role }) => role !== 'assistant') + 1),
    }));
    void this.#answer(this.#openId);
  }

  stop(): void {
    this.#running.get(this.#openId)?.abort();
  }

  async #answer(chatId: string): Promise<void> {
    if (this.#running.has(chatId)) return;
    const stop = new AbortController();
    this.#running.set(chatId, stop);
    let answer: Answer = emptyAnswer;
    const show = (next: Answer): void => {
      answer = next;
      this.#change(chatId, (chat) => {
        const before =
          chat.messages.at(-1)?.role === 'assistant' ? chat.messages.slice(0, -1) : chat.messages;
        return { ...chat, changedMs: Date.now(), messages: [...before, next] };
      });
    };
    try {
      const chat = this.#chats.find(({ id }) => id === chatId);
      if (!chat) return;
      show(answer);
      const body = JSON.stringify(bodyOf(chat));
      const response = await this.api.ask('/v1/chat/completions', {
        method: 'POST',
        body,
        signal: stop.signal,
      });
      if (response.body) for await (const { data } of eventsOf(response.body)) show(afterEvent(answer, data));
      if (answer.end === null) show({ ...answer, end: { kind: 'cut' } });
    } catch (thrown) {
      if (answer.end === null) show({ ...answer, end: this.#endOf(thrown, answer, stop.signal.aborted) });
    } finally {
      this.#running.delete(chatId);
      this.#save();
    }
  }

  #endOf(thrown: unknown, answer: Answer, isStopped: boolean): NonNullable<Answer['end']> {
    if (isStopped) return { kind: 'stopped' };
    if (thrown instanceof SyntaxError)
      return {
        kind: 'failed',
        code: 'REQUEST_INVALID',
        message: `The tools, or the further fields, are no JSON: ${thrown.message}`,
      };
    const { status, code, message } = failureOf(thrown);
    return status === 0 && answer !== emptyAnswer ? { kind: 'cut' } : { kind: 'failed', code, message };
  }

  #add(message: ChatMessage): void {
    this.#change(this.open.id, (chat) => ({
      ...chat,
      changedMs: Date.now(),
      messages: [...chat.messages, message],
    }));
    this.#save();
  }

  #change(id: string, change: (chat: Chat) => Chat): void {
    this.#chats = this.#chats.map((chat) => (chat.id === id ? change(chat) : chat));
    this.#tell();
  }

  #save(): void {
    keep('local', storeName, storedChats(this.#chats));
    this.#tell();
  }

  #tell(): void {
    if (this.#frame !== null) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = null;
      for (const listener of this.#listeners) listener();
    });
  }
}

/** Over plain HTTP browsers have no `randomUUID`. */
function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');
}
