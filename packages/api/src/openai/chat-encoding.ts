import type { OutputEvent, WholeAnswer } from '@butterfly/generation';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { serverSentEvents } from '../http/open-stream.js';
import { ChunkTexts } from './chunks.js';
import { errorBody } from './error-body.js';
import { chatLogprobs } from './logprobs.js';
import { finishWord, newId, usageObject } from './words.js';

/** `/v1/chat/completions` */
export const chatEncoding = (includeUsage: boolean): AnswerEncoding => ({
  form: serverSentEvents,
  newId: () => newId('chatcmpl'),
  whole: wholeChat,
  stream: (head) => new ChatStream(head, includeUsage),
});

function wholeChat({ id, createdS, model }: ResponseHead, { choices, usage }: WholeAnswer): object {
  return {
    id,
    object: 'chat.completion',
    created: createdS,
    model,
    choices: choices.map(({ text, tokens, reasoning, toolCalls, reason }, index) => ({
      index,
      message: {
        role: 'assistant',
        content: text === '' && toolCalls.length > 0 ? null : text,
        refusal: null,
        ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
        ...(toolCalls.length === 0
          ? {}
          : {
              tool_calls: toolCalls.map(({ id: callId, name, arguments: json }) => ({
                id: callId,
                type: 'function',
                function: { name, arguments: json },
              })),
            }),
      },
      logprobs: tokens.length === 0 ? null : chatLogprobs(tokens),
      finish_reason: finishWord(reason),
    })),
    usage: usageObject(usage),
  };
}

/** Each choice begins with a chunk that has its role. */
class ChatStream implements StreamEncoder {
  readonly #chunks: ChunkTexts;
  readonly #opened = new Set<number>();

  constructor(head: ResponseHead, includeUsage: boolean) {
    this.#chunks = new ChunkTexts(head, 'chat.completion.chunk', includeUsage);
  }

  encode(event: OutputEvent): string {
    switch (event.kind) {
      case 'text':
        return this.#delta(
          event.choice,
          event.text === '' && !event.tokens ? null : `{"content":${JSON.stringify(event.text)}}`,
          event.tokens ? JSON.stringify(chatLogprobs(event.tokens)) : 'null',
        );
      // Chats do not repeat their prompts.
      case 'prompt':
        return '';
      case 'reasoning':
        return this.#delta(event.choice, `{"reasoning_content":${JSON.stringify(event.text)}}`);
      case 'toolStart': {
        const { call: index, id, name } = event;
        const call = { index, id, type: 'function', function: { name, arguments: '' } };
        return this.#delta(event.choice, JSON.stringify({ tool_calls: [call] }));
      }
      case 'toolArguments': {
        const call = { index: event.call, function: { arguments: event.text } };
        return this.#delta(event.choice, JSON.stringify({ tool_calls: [call] }));
      }
      case 'finish':
        return this.#chunks.finish(event.choice, '"delta":{}', finishWord(event.reason));
      case 'usage':
        return this.#chunks.end(event.usage);
      default:
        return event satisfies never;
    }
  }

  failure(error: Parameters<StreamEncoder['failure']>[0]): string {
    return `data: ${JSON.stringify(errorBody(error))}\n\n`;
  }

  #delta(choice: number, delta: string | null, logprobs = 'null'): string {
    const said = delta === null ? '' : this.#chunks.part(choice, `"delta":${delta}`, logprobs);
    if (this.#opened.has(choice)) return said;
    this.#opened.add(choice);
    return this.#chunks.part(choice, '"delta":{"role":"assistant","content":""}') + said;
  }
}
