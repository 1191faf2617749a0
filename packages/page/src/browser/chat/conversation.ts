import { bounds } from '../state/bounds.js';

/** How an answer ended. */
export type AnswerEnd =
  /** `reason` as OpenAI has it, such as `length`. */
  | { readonly kind: 'done'; readonly reason: string }
  /** By whoever asked. */
  | { readonly kind: 'stopped' }
  /** The stream ended without a word. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON, as the model wrote it. */
  readonly arguments: string;
}

/** A token and how likely it was, with those that were likely in its place. */
export interface ScoredToken {
  readonly token: string;
  readonly logprob: number;
  readonly top: readonly { readonly token: string; readonly logprob: number }[];
}

export interface Answer {
  readonly role: 'assistant';
  readonly text: string;
  readonly reasoning: string;
  readonly toolCalls: readonly ToolCall[];
  readonly tokens: readonly ScoredToken[];
  readonly usage: { readonly promptTokens: number; readonly outputTokens: number } | null;
  /** Null while it comes. */
  readonly end: AnswerEnd | null;
}

export type ChatMessage =
  | { readonly role: 'user'; readonly text: string }
  | { readonly role: 'tool'; readonly callId: string; readonly name: string; readonly text: string }
  | Answer;

/** Blank texts stand for what the server does by itself. */
export interface ChatSettings {
  readonly model: string;
  readonly system: string;
  readonly temperature: string;
  readonly topP: string;
  readonly maxTokens: string;
  readonly seed: string;
  /** A JSON list of tools as OpenAI has them. */
  readonly tools: string;
  /** A JSON object of further fields of the request, such as `{"top_k": 40}`. */
  readonly more: string;
  readonly hasLogprobs: boolean;
}

export interface Chat {
  readonly id: string;
  readonly changedMs: number;
  readonly settings: ChatSettings;
  readonly messages: readonly ChatMessage[];
}

export const plainSettings: ChatSettings = {
  ...{ model: '', system: '', temperature: '', topP: '', maxTokens: '', seed: '', tools: '', more: '' },
  hasLogprobs: false,
};

export const emptyAnswer: Answer = {
  role: 'assistant',
  ...{ text: '', reasoning: '', toolCalls: [], tokens: [], usage: null, end: null },
};

interface Chunk {
  readonly error?: { readonly code?: string | null; readonly type?: string; readonly message?: string };
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly choices?: readonly {
    readonly delta?: {
      readonly content?: string | null;
      readonly reasoning_content?: string | null;
      readonly tool_calls?: readonly {
        readonly index: number;
        readonly id?: string;
        readonly function?: { readonly name?: string; readonly arguments?: string };
      }[];
    };
    readonly logprobs?: {
      readonly content?: readonly {
        readonly token: string;
        readonly logprob: number;
        readonly top_logprobs?: readonly { readonly token: string; readonly logprob: number }[];
      }[];
    } | null;
    readonly finish_reason?: string | null;
  }[];
}

/** An answer after one more event of its stream. Pure. */
export function afterEvent(answer: Answer, data: string): Answer {
  if (data === '[DONE]') return answer.end ? answer : { ...answer, end: { kind: 'done', reason: 'stop' } };
  const { error, usage, choices } = JSON.parse(data) as Chunk;
  if (error) {
    const code = error.code ?? error.type ?? 'error';
    return { ...answer, end: { kind: 'failed', code, message: error.message ?? '' } };
  }
  const told = usage
    ? { promptTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens }
    : answer.usage;
  const choice = choices?.[0];
  if (!choice) return { ...answer, usage: told };
  const { delta, logprobs, finish_reason: reason } = choice;
  const scored = (logprobs?.content ?? []).map(({ token, logprob, top_logprobs: top }) => ({
    ...{ token, logprob, top: top ?? [] },
  }));
  return {
    role: 'assistant',
    text: (answer.text + (delta?.content ?? '')).slice(0, bounds.answerCharactersMax),
    reasoning: (answer.reasoning + (delta?.reasoning_content ?? '')).slice(0, bounds.answerCharactersMax),
    toolCalls: (delta?.tool_calls ?? []).reduce(withCall, answer.toolCalls),
    tokens: scored.length === 0 ? answer.tokens : [...answer.tokens, ...scored],
    usage: told,
    end: typeof reason === 'string' ? { kind: 'done', reason } : answer.end,
  };
}

type CallPiece = NonNullable<
  NonNullable<NonNullable<Chunk['choices']>[number]['delta']>['tool_calls']
>[number];

function withCall(calls: readonly ToolCall[], { index, id, function: piece }: CallPiece): ToolCall[] {
  const old = calls[index] ?? { id: '', name: '', arguments: '' };
  const next = {
    id: id ?? old.id,
    name: piece?.name ?? old.name,
    arguments: old.arguments + (piece?.arguments ?? ''),
  };
  return [...calls.slice(0, index), next, ...calls.slice(index + 1)];
}

/** The body that asks for the next answer of a chat. @throws SyntaxError where its tools or further fields are no JSON */
export function bodyOf({ settings, messages }: Chat): Record<string, unknown> {
  const { model, system, temperature, topP, maxTokens, seed, tools, more, hasLogprobs } = settings;
  const number = (name: string, text: string) => (text.trim() === '' ? {} : { [name]: Number(text) });
  return {
    ...(model === '' ? {} : { model }),
    messages: [
      ...(system.trim() === '' ? [] : [{ role: 'system', content: system }]),
      ...messages.map(toldMessage),
    ],
    ...number('temperature', temperature),
    ...number('top_p', topP),
    ...number('max_tokens', maxTokens),
    ...number('seed', seed),
    ...(tools.trim() === '' ? {} : { tools: JSON.parse(tools) as unknown }),
    ...(hasLogprobs ? { logprobs: true, top_logprobs: 5 } : {}),
    ...(more.trim() === '' ? {} : (JSON.parse(more) as object)),
    stream: true,
    stream_options: { include_usage: true },
  };
}

function toldMessage(message: ChatMessage): object {
  switch (message.role) {
    case 'user':
      return { role: 'user', content: message.text };
    case 'tool':
      return { role: 'tool', tool_call_id: message.callId, content: message.text };
    case 'assistant': {
      const calls = message.toolCalls.map(({ id, name, arguments: json }) => ({
        ...{ id, type: 'function', function: { name, arguments: json } },
      }));
      return { role: 'assistant', content: message.text, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
    }
    default:
      return message satisfies never;
  }
}

/** Calls of the last answer that have no result yet. */
export function openCalls(messages: readonly ChatMessage[]): readonly ToolCall[] {
  const last = messages.findLastIndex(({ role }) => role === 'assistant');
  const answer = messages[last];
  if (answer?.role !== 'assistant') return [];
  const done = new Set(messages.slice(last).flatMap((each) => (each.role === 'tool' ? [each.callId] : [])));
  return answer.toolCalls.filter(({ id }) => !done.has(id));
}

/** Its first words. */
export function titleOf({ messages }: Chat): string {
  const first = messages.find(({ role }) => role === 'user');
  const words = first?.text.trim().replaceAll(/\s+/g, ' ') ?? '';
  return words === '' ? 'Empty chat' : words.length > 60 ? `${words.slice(0, 60)}…` : words;
}

/** For people to read elsewhere. */
export function markdownOf(chat: Chat): string {
  const parts = chat.messages.map((message) => {
    switch (message.role) {
      case 'user':
        return `## You\n\n${message.text}`;
      case 'tool':
        return `## Result of ${message.name}\n\n${message.text}`;
      case 'assistant': {
        const calls = message.toolCalls.map(({ name, arguments: json }) => `\n\nCalls ${name}: \`${json}\``);
        return `## ${chat.settings.model || 'Answer'}\n\n${message.text}${calls.join('')}`;
      }
      default:
        return message satisfies never;
    }
  });
  return `# ${titleOf(chat)}\n\n${parts.join('\n\n')}\n`;
}

/** What there is room for in a browser, the newest first: without the probabilities of tokens, which are large. */
export function storedChats(chats: readonly Chat[]): string {
  const kept = [...chats]
    .filter(({ messages }) => messages.length > 0)
    .sort((a, b) => b.changedMs - a.changedMs)
    .slice(0, bounds.chatsMax)
    .map((chat) => ({
      ...chat,
      messages: chat.messages.map((each) => (each.role === 'assistant' ? { ...each, tokens: [] } : each)),
    }));
  let text = JSON.stringify(kept);
  while (text.length > bounds.chatCharactersMax && kept.length > 0) {
    kept.pop();
    text = JSON.stringify(kept);
  }
  return text;
}

/** What was stored; nothing for what an older page stored otherwise. */
export function readChats(text: string | null): Chat[] {
  try {
    const read = JSON.parse(text ?? '[]') as Chat[];
    return read
      .filter((chat) => typeof chat.id === 'string' && Array.isArray(chat.messages))
      .map((chat) => ({
        ...chat,
        settings: { ...plainSettings, ...chat.settings },
        // Whatever was still coming when the window was closed does not come any more.
        messages: chat.messages.map((each) =>
          each.role === 'assistant' && each.end === null ? { ...each, end: { kind: 'cut' } as const } : each,
        ),
      }));
  } catch {
    return [];
  }
}
