import type { ButterflyError } from '@butterfly/common';
import type {
  AnswerTiming,
  FinishReason,
  OutputEvent,
  ToolCall,
  Usage,
  WholeAnswer,
} from '@butterfly/generation';
import { argumentsOf } from '../answers/call-arguments.js';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { ollamaErrorBody } from './error-body.js';

/** How an answer's parts are called: those of a message, or of a text. */
interface PartNames {
  part(said: {
    readonly text?: string;
    readonly thinking?: string;
    readonly toolCalls?: readonly object[];
  }): object;
}

const messageParts: PartNames = {
  part: ({ text = '', thinking, toolCalls }) => ({
    message: {
      role: 'assistant',
      content: text,
      ...(thinking === undefined ? {} : { thinking }),
      ...(toolCalls === undefined ? {} : { tool_calls: toolCalls }),
    },
  }),
};

const textParts: PartNames = {
  part: ({ text = '', thinking }) => ({ response: text, ...(thinking === undefined ? {} : { thinking }) }),
};

/** One JSON text in each line; nothing may stand between, so silences stay. */
const form = { contentType: 'application/x-ndjson', keepAlive: '' };

const encodingOf = (names: PartNames): AnswerEncoding => ({
  form,
  newId: () => '',
  whole: (head, answer) => wholeAnswer(names, head, answer),
  stream: (head) => new OllamaStream(names, head),
});

/** `/api/chat` */
export const chatEncoding = encodingOf(messageParts);
/** `/api/generate` */
export const generateEncoding = encodingOf(textParts);

/** What is said of a model that is only asked for. */
export const loadedAnswer = (model: string, isChat: boolean, reason: 'load' | 'unload'): object => ({
  ...headOf({ model }),
  ...(isChat ? messageParts : textParts).part({}),
  done: true,
  done_reason: reason,
});

const headOf = ({ model }: Pick<ResponseHead, 'model'>) => ({ model, created_at: new Date().toISOString() });

const nanoseconds = (ms: number): number => Math.round(ms * 1e6);

function endOf(reason: FinishReason, usage: Usage, { firstTokenMs, totalMs }: AnswerTiming): object {
  return {
    done: true,
    // Ollama has no word of its own for calls.
    done_reason: reason === 'length' ? 'length' : 'stop',
    total_duration: nanoseconds(totalMs),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: nanoseconds(firstTokenMs),
    eval_count: usage.outputTokens,
    eval_duration: nanoseconds(totalMs - firstTokenMs),
  };
}

function toolCall({ name, arguments: json }: Pick<ToolCall, 'name' | 'arguments'>): object {
  return { function: { name, arguments: argumentsOf(json) } };
}

function wholeAnswer(
  names: PartNames,
  head: ResponseHead,
  { choices: [choice], usage, timing }: WholeAnswer,
): object {
  return {
    ...headOf(head),
    ...names.part({
      text: choice?.text ?? '',
      ...(choice && choice.reasoning !== '' ? { thinking: choice.reasoning } : {}),
      ...(choice && choice.toolCalls.length > 0 ? { toolCalls: choice.toolCalls.map(toolCall) } : {}),
    }),
    ...endOf(choice?.reason ?? 'stop', usage, timing),
  };
}

const line = (json: object): string => `${JSON.stringify(json)}\n`;

/** Calls of tools go out whole. */
class OllamaStream implements StreamEncoder {
  #call: { readonly name: string; readonly pieces: string[] } | null = null;
  #reason: FinishReason = 'stop';

  constructor(
    private readonly names: PartNames,
    private readonly head: ResponseHead,
  ) {}

  encode(event: OutputEvent): string {
    switch (event.kind) {
      case 'text':
        return event.text === '' ? '' : this.#said({ text: event.text });
      // Nobody asks for it in this dialect.
      case 'prompt':
        return '';
      case 'reasoning':
        return this.#said({ thinking: event.text });
      case 'toolStart': {
        const before = this.#called();
        this.#call = { name: event.name, pieces: [] };
        return before;
      }
      case 'toolArguments':
        this.#call?.pieces.push(event.text);
        return '';
      case 'finish':
        this.#reason = event.reason;
        return this.#called();
      case 'usage':
        return line({
          ...headOf(this.head),
          ...this.names.part({}),
          ...endOf(this.#reason, event.usage, event.timing),
        });
      default:
        return event satisfies never;
    }
  }

  failure(error: ButterflyError): string {
    return line(ollamaErrorBody(error));
  }

  #called(): string {
    const call = this.#call;
    this.#call = null;
    return call === null
      ? ''
      : this.#said({ toolCalls: [toolCall({ name: call.name, arguments: call.pieces.join('') })] });
  }

  #said(said: Parameters<PartNames['part']>[0]): string {
    return line({ ...headOf(this.head), ...this.names.part(said), done: false });
  }
}
