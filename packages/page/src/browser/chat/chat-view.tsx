import { useEffect, useRef, useState } from 'preact/hooks';
import { usePage } from '../parts/page-context.js';
import { ConfirmButton } from '../parts/ui.js';
import type { ChatDesk } from './chat-desk.js';
import { type Chat, markdownOf, openCalls, titleOf, type ToolCall } from './conversation.js';
import { MessageView } from './message-view.js';
import { SettingsForm } from './settings-form.js';

/** Talks with the models of the server. */
export function ChatView({ desk }: { readonly desk: ChatDesk }) {
  const [, redraw] = useState(0);
  useEffect(() => desk.subscribe(() => redraw((count) => count + 1)), [desk]);
  const { live } = usePage();
  const chat = desk.open;
  return (
    <div class="chat">
      <aside aria-label="Chats">
        <button type="button" onClick={() => desk.begin()}>
          New chat
        </button>
        <ChatList desk={desk} />
        <SettingsForm
          settings={chat.settings}
          models={live.cluster?.models.map(({ id }) => id) ?? []}
          onChange={(settings) => desk.set(settings)}
        />
        <Export chat={chat} />
      </aside>
      <section class="talk" aria-label={titleOf(chat)}>
        <Messages chat={chat} />
        {!desk.isAnswering &&
          openCalls(chat.messages).map((call) => <ResultForm key={call.id} call={call} desk={desk} />)}
        <Composer desk={desk} />
      </section>
    </div>
  );
}

function ChatList({ desk }: { readonly desk: ChatDesk }) {
  const { open, chats } = desk;
  return (
    <details class="chats" open={innerWidth > 800}>
      <summary>Chats of this browser ({chats.length})</summary>
      <ul>
        {chats.map((chat) => (
          <li key={chat.id}>
            <button
              type="button"
              class="choice"
              aria-current={chat.id === open.id ? 'true' : undefined}
              onClick={() => desk.choose(chat.id)}
            >
              {titleOf(chat)}
            </button>
            <button type="button" aria-label={`Delete ${titleOf(chat)}`} onClick={() => desk.delete(chat.id)}>
              ×
            </button>
          </li>
        ))}
      </ul>
      <ConfirmButton
        question="All chats of this browser are deleted. The server keeps none of them."
        confirm="Delete all chats"
        work={() => {
          desk.deleteAll();
          return Promise.resolve();
        }}
      >
        Delete all
      </ConfirmButton>
    </details>
  );
}

function Messages({ chat }: { readonly chat: Chat }) {
  const list = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  // Whoever scrolled up to read is left there.
  useEffect(() => {
    const element = list.current;
    if (element && isAtEnd.current) element.scrollTop = element.scrollHeight;
  });
  const scrolled = (): void => {
    const element = list.current;
    if (element) isAtEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 60;
  };
  return (
    <div ref={list} class="messages" tabIndex={0} role="log" aria-label="Messages" onScroll={scrolled}>
      {chat.messages.length === 0 && (
        <p class="quiet">What you ask here is computed by the cluster, and kept in this browser alone.</p>
      )}
      {chat.messages.map((message, index) => (
        <MessageView key={index} message={message} />
      ))}
    </div>
  );
}

function Composer({ desk }: { readonly desk: ChatDesk }) {
  const [text, setText] = useState('');
  const { open, isAnswering } = desk;
  const canSend = text.trim() !== '' && !isAnswering;
  const send = (): void => {
    if (!canSend) return;
    desk.send(text);
    setText('');
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <div class="composer">
      <textarea
        aria-label="Your message"
        placeholder="Ask something; Enter sends, Shift+Enter begins a line"
        rows={3}
        value={text}
        onInput={({ currentTarget: { value } }) => setText(value)}
        onKeyDown={key}
      />
      <div class="actions">
        {isAnswering ? (
          <button type="button" class="main" onClick={() => desk.stop()}>
            Stop
          </button>
        ) : (
          <button type="button" class="main" disabled={!canSend} onClick={send}>
            Send
          </button>
        )}
        <button
          type="button"
          disabled={isAnswering || open.messages.length === 0}
          onClick={() => desk.regenerate()}
        >
          Regenerate
        </button>
      </div>
    </div>
  );
}

function ResultForm({ call, desk }: { readonly call: ToolCall; readonly desk: ChatDesk }) {
  const [text, setText] = useState('');
  return (
    <div class="composer">
      <label>
        Result of {call.name}
        <textarea rows={2} value={text} onInput={({ currentTarget: { value } }) => setText(value)} />
      </label>
      <button type="button" onClick={() => desk.giveResult(call.id, call.name, text)}>
        Give it
      </button>
    </div>
  );
}

function Export({ chat }: { readonly chat: Chat }) {
  const save = (text: string, type: string, ending: string): void => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = document.createElement('a');
    link.href = url;
    link.download = `butterfly-chat-${chat.id.slice(0, 8)}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  if (chat.messages.length === 0) return null;
  return (
    <div class="actions">
      <button type="button" onClick={() => save(markdownOf(chat), 'text/markdown', 'md')}>
        Save as Markdown
      </button>
      <button type="button" onClick={() => save(JSON.stringify(chat, null, 2), 'application/json', 'json')}>
        Save as JSON
      </button>
    </div>
  );
}
