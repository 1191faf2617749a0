import { randomUUID } from 'node:crypto';
import type { FinishReason, Usage } from '@butterfly/generation';

export const newId = (prefix: string): string => `${prefix}-${randomUUID().replaceAll('-', '')}`;

const finishWords = { stop: 'stop', length: 'length', toolCalls: 'tool_calls' } as const;

/** OpenAI's `finish_reason`. */
export const finishWord = (reason: FinishReason): string => finishWords[reason];

/** OpenAI's `usage`. */
export const usageObject = ({
  promptTokens,
  outputTokens,
  cachedPromptTokens,
  reasoningTokens = 0,
}: Usage) => ({
  prompt_tokens: promptTokens,
  completion_tokens: outputTokens,
  total_tokens: promptTokens + outputTokens,
  ...(reasoningTokens === 0 ? {} : { completion_tokens_details: { reasoning_tokens: reasoningTokens } }),
  ...(cachedPromptTokens === null ? {} : { prompt_tokens_details: { cached_tokens: cachedPromptTokens } }),
});
