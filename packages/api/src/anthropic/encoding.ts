import { randomUUID } from 'node:crypto';
import type { ButterflyError } from '@butterfly/common';
import type { Choice, FinishReason, OutputEvent, Usage, WholeAnswer } from '@butterfly/generation';
import { argumentsOf } from '../answers/call-arguments.js';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { anthropicErrorBody } from './error-body.js';

/** `/v1/messages` */
export const messagesEncoding: AnswerEncoding = {
  form: {
    contentType: 'text/event-stream; charset=utf-8',
    keepAlive: 'event: ping\ndata: {"type":"ping"}\n\n',
  },
  newId: () => `msg_${randomUUID().replaceAll('-', '')}`,
  whole: wholeMessage,
  stream: (head) => new MessageStream(head),
};

function wholeMessage(head: ResponseHead, { choices: [choice], usage }: WholeAnswer): object {
  return {
    ...messageHead(head),
    content: choice ? contentOf(choice) : [],
    ...(choice ? stopOf(choice.reason, choice.stop) : {}),
    usage: usageOf(usage),
  };
}

const messageHead = ({ id, model }: ResponseHead) => ({
  id,
  type: 'message',
  role: 'assistant',
  model,
  content: [],
  container: null,
  diagnostics: null,
  stop_details: null,
  stop_reason: null,
  stop_sequence: null,
});

function contentOf({ reasoning, text, toolCalls }: Choice): object[] {
  return [
    ...(reasoning === '' ? [] : [{ type: 'thinking', thinking: reasoning, signature: '' }]),
    ...(text === '' ? [] : [{ type: 'text', text, citations: null }]),
    ...toolCalls.map(({ id, name, arguments: json }) => toolUse(id, name, argumentsOf(json))),
  ];
}

const toolUse = (id: string, name: string, input: unknown) => ({
  type: 'tool_use',
  id,
  name,
  input,
  caller: { type: 'direct' },
});

function stopOf(reason: FinishReason, stop: string | null): object {
  const words = { stop: 'end_turn', length: 'max_tokens', toolCalls: 'tool_use' } as const;
  return { stop_reason: stop === null ? words[reason] : 'stop_sequence', stop_sequence: stop };
}

/** As the end of a stream tells them. Tokens that were cached are counted apart. */
function countsOf({ promptTokens, outputTokens, cachedPromptTokens }: Usage) {
  const cached = cachedPromptTokens ?? 0;
  return {
    input_tokens: promptTokens - cached,
    output_tokens: outputTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens_details: null,
    server_tool_use: null,
  };
}

/** As a message tells them. */
const usageOf = (usage: Usage): object => ({
  ...countsOf(usage),
  cache_creation: null,
  inference_geo: null,
  service_tier: null,
  speed: null,
});

const eventText = (type: string, fields: object = {}): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;

type BlockKind = 'text' | 'thinking' | 'tool_use';

/** Blocks follow one another: one begins when an event of another kind, or another call, comes. */
class MessageStream implements StreamEncoder {
  #opened = false;
  #index = -1;
  #block: BlockKind | null = null;
  #end: object = {};

  constructor(private readonly head: ResponseHead) {}

  encode(event: OutputEvent): string {
    return this.#opening() + this.#said(event);
  }

  failure(error: ButterflyError): string {
    const body = anthropicErrorBody(error, error.kind.httpStatus, this.head.requestId);
    return `event: error\ndata: ${JSON.stringify(body)}\n\n`;
  }

  #opening(): string {
    if (this.#opened) return '';
    this.#opened = true;
    const { promptTokens } = this.head;
    const usage = usageOf({ promptTokens, outputTokens: 0, cachedPromptTokens: 0, reasoningTokens: 0 });
    const message = { ...messageHead(this.head), usage };
    return eventText('message_start', { message });
  }

  #said(event: OutputEvent): string {
    switch (event.kind) {
      case 'text':
        if (event.text === '') return '';
        return (
          this.#within('text', { type: 'text', text: '', citations: null }) +
          this.#delta({ type: 'text_delta', text: event.text })
        );
      // Nobody asks for it in this dialect.
      case 'prompt':
        return '';
      case 'reasoning':
        return (
          this.#within('thinking', { type: 'thinking', thinking: '', signature: '' }) +
          this.#delta({ type: 'thinking_delta', thinking: event.text })
        );
      case 'toolStart':
        return this.#close() + this.#open('tool_use', toolUse(event.id, event.name, {}));
      case 'toolArguments':
        return this.#delta({ type: 'input_json_delta', partial_json: event.text });
      case 'finish':
        this.#end = { container: null, stop_details: null, ...stopOf(event.reason, event.stop) };
        return this.#close();
      case 'usage':
        return (
          eventText('message_delta', { delta: this.#end, usage: countsOf(event.usage) }) +
          eventText('message_stop')
        );
      default:
        return event satisfies never;
    }
  }

  #within(kind: BlockKind, block: object): string {
    return this.#block === kind ? '' : this.#close() + this.#open(kind, block);
  }

  #open(kind: BlockKind, block: object): string {
    this.#block = kind;
    this.#index += 1;
    return eventText('content_block_start', { index: this.#index, content_block: block });
  }

  #delta(delta: object): string {
    return eventText('content_block_delta', { index: this.#index, delta });
  }

  #close(): string {
    if (this.#block === null) return '';
    const signature =
      this.#block === 'thinking' ? this.#delta({ type: 'signature_delta', signature: '' }) : '';
    this.#block = null;
    return signature + eventText('content_block_stop', { index: this.#index });
  }
}
