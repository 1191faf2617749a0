/** What was said, in the order of OpenAI's messages. */
export interface Said {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** A conversation at a terminal: a value, changed by what is typed. */
export interface Conversation {
  /** Null without instructions. */
  readonly system: string | null;
  readonly turns: readonly Said[];
}

export const emptyConversation: Conversation = Object.freeze({ system: null, turns: Object.freeze([]) });

/** What a person asks the terminal to do. */
export type ChatCommand =
  | { readonly kind: 'say'; readonly text: string }
  | { readonly kind: 'system'; readonly text: string | null }
  | { readonly kind: 'save'; readonly path: string }
  | { readonly kind: 'load'; readonly path: string }
  /** The last answer is made anew. */
  | { readonly kind: 'again' }
  /** The last question and its answer are taken back. */
  | { readonly kind: 'undo' }
  | { readonly kind: 'clear' }
  | { readonly kind: 'help' }
  | { readonly kind: 'exit' }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'mistake'; readonly message: string };

export const chatHelp = `/system TEXT   the model's instructions; without TEXT there are none
/again         makes the last answer anew
/undo          takes the last question and its answer back
/clear         begins anew, with the same instructions
/save FILE     writes the conversation as JSON; /load FILE reads one
/exit          ends, as Ctrl-D does; Ctrl-C stops an answer
A line that ends with \\ goes on in the next one, and """ begins and ends a text of several lines.
`;

const simple = new Set(['again', 'undo', 'clear', 'help', 'exit'] as const);

/** Reads one input, which may have several lines. */
export function readCommand(input: string): ChatCommand {
  const text = input.trim();
  if (text === '') return { kind: 'nothing' };
  const [, name = '', rest = ''] = /^\/([a-z]+)(?:\s+([^]*))?$/.exec(text) ?? [];
  if (name === '') return text.startsWith('/') ? mistake(text) : { kind: 'say', text };
  for (const kind of simple) if (name === kind) return { kind };
  if (name === 'system') return { kind: 'system', text: rest === '' ? null : rest };
  if (name === 'quit' || name === 'bye') return { kind: 'exit' };
  if (name !== 'save' && name !== 'load') return mistake(`/${name}`);
  return rest === ''
    ? { kind: 'mistake', message: `Say which file: /${name} FILE.` }
    : { kind: name, path: rest };
}

const mistake = (text: string): ChatCommand => ({
  kind: 'mistake',
  message: `There is no command ${text}; /help lists them.`,
});

/** What is sent for the next answer. */
export function messagesOf({ system, turns }: Conversation): readonly Said[] {
  return system === null ? turns : [{ role: 'system', content: system }, ...turns];
}

export const withSystem = (conversation: Conversation, system: string | null): Conversation => ({
  ...conversation,
  system,
});

export const withTurn = (
  { system, turns }: Conversation,
  role: Said['role'],
  content: string,
): Conversation => ({
  system,
  turns: [...turns, { role, content }],
});

/** Without the last answer, or null where there is none. */
export function withoutAnswer({ system, turns }: Conversation): Conversation | null {
  return turns.at(-1)?.role === 'assistant' ? { system, turns: turns.slice(0, -1) } : null;
}

/** Without the last question and its answer, or null where there is none. */
export function withoutQuestion({ system, turns }: Conversation): Conversation | null {
  const at = turns.findLastIndex(({ role }) => role === 'user');
  return at < 0 ? null : { system, turns: turns.slice(0, at) };
}

/** Joins typed lines to inputs. */
export class InputLines {
  #lines: string[] = [];
  #isBlock = false;

  /** Whether an input has begun and goes on. */
  get isOpen(): boolean {
    return this.#isBlock || this.#lines.length > 0;
  }

  /** The whole input, or null while it goes on. */
  push(line: string): string | null {
    if (this.#isBlock) return this.#inBlock(line);
    const trimmed = line.trimStart();
    if (this.#lines.length === 0 && trimmed.startsWith('"""')) {
      this.#isBlock = true;
      return this.#inBlock(trimmed.slice(3));
    }
    if (line.endsWith('\\')) {
      this.#lines.push(line.slice(0, -1));
      return null;
    }
    this.#lines.push(line);
    return this.#take();
  }

  /** Drops what was begun. */
  drop(): void {
    this.#take();
  }

  #inBlock(line: string): string | null {
    if (!line.trimEnd().endsWith('"""')) {
      this.#lines.push(line);
      return null;
    }
    this.#lines.push(line.trimEnd().slice(0, -3));
    return this.#take();
  }

  #take(): string {
    const input = this.#lines.join('\n');
    this.#lines = [];
    this.#isBlock = false;
    return input;
  }
}
