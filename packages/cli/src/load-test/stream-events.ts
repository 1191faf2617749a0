import { z } from 'zod';

const text = z.string().nullish();
const schema = z.object({
  choices: z
    .array(
      z.object({
        text,
        // Thoughts, as llama-server and vLLM have named them.
        delta: z.object({ content: text, reasoning_content: text, reasoning: text }).nullish(),
      }),
    )
    .nullish(),
  usage: z
    .object({ prompt_tokens: z.number().nonnegative(), completion_tokens: z.number().nonnegative() })
    .nullish(),
});

/** Tokens as a server counts them. */
export interface TokenUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** What an event of `/v1/completions` or `/v1/chat/completions` says to who measures it. */
export interface LoadEvent {
  readonly hasText: boolean;
  readonly usage: TokenUsage | null;
}

/** An event of another form says nothing. */
export function readLoadEvent(event: unknown): LoadEvent {
  const { choices, usage } = schema.safeParse(event).data ?? {};
  const texts = (choices ?? []).flatMap(({ text: piece, delta }) => [
    piece,
    delta?.content,
    delta?.reasoning_content,
    delta?.reasoning,
  ]);
  return {
    hasText: texts.some((piece) => (piece ?? '') !== ''),
    usage: usage ? { inputTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens } : null,
  };
}
