import {
  Responses,
  halfCharacterIn,
  parseChat,
  parseChatRequest,
  parseCountRequest,
  parseGenerate,
  parseMessagesRequest,
  parseResponseRequest,
  parseTextRequest,
  textOfBody,
} from '@butterfly/api/dialects';
import { ButterflyError, limits, systemClock } from '@butterfly/common';
import type { FuzzTarget } from '../engine/target.js';

const common =
  'model messages prompt role content system user assistant tool developer text type stream max_tokens temperature top_p top_k min_p seed stop n tools tool_choice function name description parameters arguments id input_schema input tool_use tool_result tool_call_id tool_calls response_format json_schema json_object schema strict logprobs top_logprobs logit_bias auto none required any image_url options format think'.split(
    ' ',
  );
const others: Readonly<Record<string, string>> = {
  chat: 'max_completion_tokens stream_options include_usage continue_final_message add_generation_prompt chat_template_kwargs reasoning_effort guided_json guided_regex structured_outputs parallel_tool_calls priority timeout_ms ignore_eos dry_multiplier xtc_probability',
  text: 'echo suffix best_of',
  responses:
    'instructions previous_response_id store metadata include output_text input_text function_call function_call_output call_id output reasoning summary message item_reference text verbosity truncation max_output_tokens conversation',
  messages:
    'max_tokens stop_sequences thinking budget_tokens cache_control ephemeral disable_parallel_tool_use',
  ollama: 'num_predict num_ctx repeat_penalty keep_alive raw suffix template context images tool_name',
};

/** What any model takes. */
const contextTokens = 4096;

/** What a client sends, as the server reads it: bytes, JSON, fields. */
function body(name: string, parse: (value: unknown) => unknown): FuzzTarget {
  return {
    name: `body-${name}`,
    inputBytesMax: 4096,
    isJson: true,
    words: [...common, ...(others[name]?.split(' ') ?? [])],
    run(input) {
      const text = textOfBody(Buffer.from(input), contextTokens + limits.requestValuesBesideTokensMax);
      if (text instanceof ButterflyError) return;
      const value = parsed(text);
      const half = halfCharacterIn(text, value);
      if (half === null) parse(value);
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ButterflyError('REQUEST_INVALID', 'no JSON', { cause });
  }
}

const responses = new Responses(systemClock);

export const bodies: readonly FuzzTarget[] = [
  body('chat', parseChatRequest),
  body('text', parseTextRequest),
  body('responses', (value) => parseResponseRequest(value, responses)),
  body('messages', (value) => {
    try {
      parseCountRequest(value);
    } catch (thrown) {
      if (!(thrown instanceof ButterflyError)) throw thrown;
    }
    parseMessagesRequest(value);
  }),
  body('ollama', (value) => {
    try {
      parseGenerate(value);
    } catch (thrown) {
      if (!(thrown instanceof ButterflyError)) throw thrown;
    }
    parseChat(value);
  }),
];
