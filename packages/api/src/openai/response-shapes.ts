import { randomUUID } from 'node:crypto';

/** What every object of one response repeats. */
export interface ResponseHead {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
}

export interface Usage {
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** How many of the prompt were cached; null where it is not known. */
  readonly cachedPromptTokens: number | null;
}

export type FinishReason = 'stop' | 'length';

/** The JSON texts of the events of one stream. */
interface StreamShape {
  /** The event before all text, where the endpoint has one. */
  readonly opening: string | null;
  piece(text: string): string;
  finish(reason: FinishReason): string;
  usage(usage: Usage): string;
}

/** How one endpoint writes its answers. */
export interface ResponseShape {
  newId(): string;
  /** The answer in one object. */
  whole(head: ResponseHead, text: string, reason: FinishReason, usage: Usage): object;
  stream(head: ResponseHead, includeUsage: boolean): StreamShape;
}

const newId = (prefix: string) => `${prefix}-${randomUUID().replaceAll('-', '')}`;

const usageObject = ({ promptTokens, outputTokens, cachedPromptTokens }: Usage) => ({
  prompt_tokens: promptTokens,
  completion_tokens: outputTokens,
  total_tokens: promptTokens + outputTokens,
  ...(cachedPromptTokens === null ? {} : { prompt_tokens_details: { cached_tokens: cachedPromptTokens } }),
});

/** How the chunks of an endpoint differ: JSON texts of the fields of a choice. */
interface ChunkParts {
  readonly object: string;
  readonly opening: string | null;
  readonly beforeText: string;
  readonly afterText: string;
  readonly closing: string;
}

/** Builds all that is constant once, so that a token costs one short concatenation. */
function streamShape(parts: ChunkParts, head: ResponseHead, includeUsage: boolean): StreamShape {
  const common = JSON.stringify({ ...head, object: parts.object }).slice(0, -1);
  const start = `${common},"choices":[{"index":0,`;
  // With usage asked for, OpenAI puts a null into every chunk but the last.
  const end = (reason: FinishReason | null) =>
    `,"logprobs":null,"finish_reason":${JSON.stringify(reason)}}]${includeUsage ? ',"usage":null' : ''}}`;
  const beforeText = start + parts.beforeText;
  const afterText = parts.afterText + end(null);
  return {
    opening: parts.opening === null ? null : start + parts.opening + end(null),
    piece: (text) => beforeText + JSON.stringify(text) + afterText,
    finish: (reason) => start + parts.closing + end(reason),
    usage: (usage) => `${common},"choices":[],"usage":${JSON.stringify(usageObject(usage))}}`,
  };
}

const chatChunks: ChunkParts = {
  object: 'chat.completion.chunk',
  opening: '"delta":{"role":"assistant","content":""}',
  beforeText: '"delta":{"content":',
  afterText: '}',
  closing: '"delta":{}',
};

const textChunks: ChunkParts = {
  object: 'text_completion',
  opening: null,
  beforeText: '"text":',
  afterText: '',
  closing: '"text":""',
};

/** `/v1/chat/completions` */
export const chatShape: ResponseShape = {
  newId: () => newId('chatcmpl'),
  whole: (head, content, reason, usage) => ({
    ...head,
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content, refusal: null },
        logprobs: null,
        finish_reason: reason,
      },
    ],
    usage: usageObject(usage),
  }),
  stream: (head, includeUsage) => streamShape(chatChunks, head, includeUsage),
};

/** `/v1/completions` */
export const textShape: ResponseShape = {
  newId: () => newId('cmpl'),
  whole: (head, text, reason, usage) => ({
    ...head,
    object: 'text_completion',
    choices: [{ index: 0, text, logprobs: null, finish_reason: reason }],
    usage: usageObject(usage),
  }),
  stream: (head, includeUsage) => streamShape(textChunks, head, includeUsage),
};
