import { z } from 'zod';
import type { ApiClient } from '../api-client/api-client.js';
import type { Said } from './conversation.js';

/** How answers are drawn; undefined leaves it to the server. */
export interface ChatSettings {
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly maxTokens?: number | undefined;
  readonly seed?: number | undefined;
}

/** A piece of an answer, or how it ended. */
export type AnswerPart =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'reasoning'; readonly text: string }
  | { readonly kind: 'end'; readonly outputTokens: number; readonly isCut: boolean };

const chunkSchema = z.object({
  choices: z.array(
    z.object({
      delta: z.object({ content: z.string().nullish(), reasoning_content: z.string().nullish() }),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: z.object({ completion_tokens: z.number() }).nullish(),
});

/** The next answer of a conversation, as it comes. @throws ButterflyError as `ApiClient.stream` does */
export async function* answerParts(
  client: ApiClient,
  messages: readonly Said[],
  { temperature, topP, maxTokens, seed }: ChatSettings,
  signal: AbortSignal,
): AsyncGenerator<AnswerPart, void, undefined> {
  const body = {
    messages,
    stream: true,
    stream_options: { include_usage: true },
    temperature,
    top_p: topP,
    max_completion_tokens: maxTokens,
    seed,
  };
  let isCut = false;
  for await (const event of client.stream('/v1/chat/completions', body, signal)) {
    const chunk = chunkSchema.safeParse(event);
    if (!chunk.success) continue;
    const [choice] = chunk.data.choices;
    if (choice?.delta.reasoning_content) yield { kind: 'reasoning', text: choice.delta.reasoning_content };
    if (choice?.delta.content) yield { kind: 'text', text: choice.delta.content };
    if (choice?.finish_reason === 'length') isCut = true;
    if (chunk.data.usage) yield { kind: 'end', outputTokens: chunk.data.usage.completion_tokens, isCut };
  }
}
