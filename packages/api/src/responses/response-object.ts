import type { ButterflyError } from '@butterfly/common';
import type { Usage } from '@butterfly/generation';
import type { ResponseHead } from '../answers/dialect.js';
import type { OutputItem, ResponseObject } from './items.js';

/** What a response repeats of its request, in the names of the wire. */
export interface RequestEcho {
  readonly background: boolean;
  readonly instructions: string | null;
  readonly max_output_tokens: number | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly parallel_tool_calls: boolean;
  readonly previous_response_id: string | null;
  readonly prompt_cache_key: string | null;
  readonly reasoning: object;
  readonly safety_identifier: string | null;
  readonly temperature: number;
  readonly text: object;
  readonly tool_choice: unknown;
  readonly tools: readonly object[];
  readonly top_p: number;
  readonly user?: string;
}

/** How far a response is. */
export type ResponseState =
  | { readonly kind: 'inProgress' }
  | { readonly kind: 'completed' | 'incomplete'; readonly usage: Usage; readonly completedS: number }
  | { readonly kind: 'failed' | 'cancelled'; readonly error: ButterflyError };

export function responseObject(
  { id, createdS, model }: ResponseHead,
  echo: RequestEcho,
  state: ResponseState,
  output: readonly OutputItem[],
): ResponseObject {
  const response: ResponseObject & Readonly<Record<string, unknown>> = {
    id,
    object: 'response',
    created_at: createdS,
    status: state.kind === 'inProgress' ? 'in_progress' : state.kind,
    completed_at: state.kind === 'completed' ? state.completedS : null,
    error: 'error' in state ? errorObject(state.error) : null,
    incomplete_details: state.kind === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    model,
    output,
    service_tier: 'default',
    top_logprobs: 0,
    truncation: 'disabled',
    ...('usage' in state ? { usage: usageObject(state.usage) } : {}),
    ...echo,
  };
  return response;
}

/** The words that clients act on; anything else is the server's trouble. */
function errorObject(error: ButterflyError): object {
  const { apiCode, openaiType } = error.kind;
  const code =
    apiCode ??
    (openaiType === 'rate_limit_error'
      ? 'rate_limit_exceeded'
      : openaiType === 'invalid_request_error'
        ? 'invalid_prompt'
        : 'server_error');
  return { code, message: error.message };
}

const usageObject = ({ promptTokens, outputTokens, cachedPromptTokens, reasoningTokens }: Usage) => ({
  input_tokens: promptTokens,
  // Nobody pays for writing to the cache.
  input_tokens_details: { cached_tokens: cachedPromptTokens ?? 0, cache_write_tokens: 0 },
  output_tokens: outputTokens,
  output_tokens_details: { reasoning_tokens: reasoningTokens ?? 0 },
  total_tokens: promptTokens + outputTokens,
});
