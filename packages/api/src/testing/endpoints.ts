import { countFields, messagesFields } from '../anthropic/fields.js';
import { embeddingFields, rerankFields } from '../embeddings/fields.js';
import type { Fields } from '../fields/field-kinds.js';
import * as ollama from '../ollama/fields.js';
import { chatFields, textFields } from '../openai/fields.js';
import { responseFields } from '../responses/fields.js';

/** Whose words errors are written in. */
export type ErrorShape = 'openai' | 'anthropic' | 'ollama';

/** An endpoint with a body that says much, to be made wrong. */
export interface Endpoint {
  readonly path: string;
  readonly shape: ErrorShape;
  /** The names of all fields that it knows. */
  readonly fields: readonly string[];
  /** Whether it lets fields pass that it does not know. */
  readonly isLoose?: boolean;
  /** Bodies that are answered with 200. */
  readonly bodies: readonly Readonly<Record<string, unknown>>[];
}

const parameters = { type: 'object', properties: { at: { type: 'integer', minimum: 0 } }, required: ['at'] };
const called = { name: 'look', arguments: '{"at":1}' };
const tool = { type: 'function', function: { name: 'look', description: 'Looks.', parameters } };
const user = { role: 'user', content: 'Hi' };
const names = (fields: Fields): string[] => Object.keys(fields);

const openai: readonly Endpoint[] = [
  {
    path: '/v1/chat/completions',
    shape: 'openai',
    fields: names(chatFields),
    bodies: [
      { messages: [user], max_tokens: 3, temperature: 0.5, seed: 7, stop: ['x'], logit_bias: { 65: -1 } },
      {
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
          user,
          { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: called }] },
          { role: 'tool', tool_call_id: 'a', content: 'dark' },
        ],
        tools: [tool],
        tool_choice: { type: 'function', function: { name: 'look' } },
        parallel_tool_calls: false,
        stream: true,
        stream_options: { include_usage: true },
      },
      {
        messages: [user],
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'a', schema: parameters, strict: true },
        },
        logprobs: true,
        top_logprobs: 2,
        n: 2,
      },
    ],
  },
  {
    path: '/v1/completions',
    shape: 'openai',
    fields: names(textFields),
    bodies: [
      { prompt: ['Hi', 'Ho'], max_tokens: 2, echo: true, logprobs: 1, n: 2 },
      { prompt: [72, 105], stream: true, top_k: 3, min_p: 0.1 },
    ],
  },
  {
    path: '/v1/responses',
    shape: 'openai',
    fields: names(responseFields),
    bodies: [
      {
        input: [
          { role: 'user', content: [{ type: 'input_text', text: 'Hi' }] },
          { type: 'function_call', call_id: 'a', ...called },
          { type: 'function_call_output', call_id: 'a', output: 'dark' },
        ],
        instructions: 'Be brief.',
        tools: [{ type: 'function', name: 'look', parameters, strict: true }],
        tool_choice: 'auto',
        metadata: { a: 'b' },
      },
      { input: 'Hi', text: { format: { type: 'json_schema', name: 'a', schema: parameters } }, stream: true },
    ],
  },
  {
    path: '/v1/embeddings',
    shape: 'openai',
    fields: names(embeddingFields),
    bodies: [{ input: ['a', [72, 105]], encoding_format: 'base64', truncate: true }],
  },
  {
    path: '/rerank',
    shape: 'openai',
    fields: names(rerankFields),
    bodies: [{ query: 'a', documents: ['b', { text: 'c' }], top_n: 1 }],
  },
  {
    path: '/tokenize',
    shape: 'openai',
    fields: ['content', 'prompt', 'messages'],
    bodies: [{ content: 'Hi' }],
  },
  { path: '/detokenize', shape: 'openai', fields: ['tokens', 'model'], bodies: [{ tokens: [72, 105] }] },
  { path: '/apply-template', shape: 'openai', fields: ['messages', 'model'], bodies: [{ messages: [user] }] },
];

const conversation = {
  system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
  messages: [
    user,
    {
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: 'Hm.', signature: '' },
        { type: 'tool_use', id: 'a', name: 'look', input: { at: 1 } },
      ],
    },
    {
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: 'dark' }] }],
    },
  ],
  tools: [{ name: 'look', description: 'Looks.', input_schema: parameters }],
  tool_choice: { type: 'auto', disable_parallel_tool_use: true },
};

const anthropic: readonly Endpoint[] = [
  {
    path: '/v1/messages',
    shape: 'anthropic',
    fields: names(messagesFields),
    bodies: [
      { ...conversation, max_tokens: 5, stop_sequences: ['x'], metadata: { user_id: 'me' } },
      { messages: [user], max_tokens: 5, stream: true, thinking: { type: 'disabled' }, top_k: 4 },
    ],
  },
  {
    path: '/v1/messages/count_tokens',
    shape: 'anthropic',
    fields: names(countFields),
    bodies: [conversation],
  },
];

const ollamas: readonly Endpoint[] = [
  {
    path: '/api/chat',
    shape: 'ollama',
    fields: names(ollama.chatFields),
    bodies: [
      { messages: [user], format: parameters, options: { temperature: 0, num_predict: 3, stop: ['x'] } },
      {
        messages: [
          user,
          {
            role: 'assistant',
            content: '',
            tool_calls: [{ function: { name: 'look', arguments: { at: 1 } } }],
          },
          { role: 'tool', tool_name: 'look', content: 'dark' },
        ],
        tools: [tool],
        stream: false,
      },
    ],
  },
  {
    path: '/api/generate',
    shape: 'ollama',
    fields: [...names(ollama.generateFields), ...names(ollama.optionFields)],
    bodies: [{ prompt: 'Hi', system: 'Be brief.', options: { seed: 1, top_k: 3, repeat_penalty: 1.2 } }],
  },
  {
    path: '/api/embed',
    shape: 'ollama',
    fields: names(ollama.embedFields),
    bodies: [{ input: ['a', 'b'], truncate: true }],
  },
  {
    path: '/api/show',
    shape: 'ollama',
    isLoose: true,
    fields: ['model', 'name'],
    bodies: [{ model: 'echo' }],
  },
];

export const endpoints: readonly Endpoint[] = [...openai, ...anthropic, ...ollamas];
