import type { AnswerTiming, FinishReason, OutputEvent, Usage, WholeAnswer } from '@butterfly/generation';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { serverSentEvents } from '../http/open-stream.js';
import { errorBody } from '../openai/error-body.js';
import { newId } from '../openai/words.js';

/** `/infill`, whose answers are llama-server's own. */
export const infillEncoding: AnswerEncoding = {
  form: serverSentEvents,
  newId: () => newId('infill'),
  whole: (head, { choices: [choice], usage, timing }: WholeAnswer) =>
    ended(head, choice?.text ?? '', {
      reason: choice?.reason ?? 'stop',
      stop: choice?.stop ?? null,
      usage,
      timing,
    }),
  stream: (head) => new InfillStream(head),
};

interface End {
  readonly reason: FinishReason;
  readonly stop: string | null;
  readonly usage: Usage;
  readonly timing: AnswerTiming;
}

function ended({ model }: ResponseHead, content: string, { reason, stop, usage, timing }: End): object {
  return {
    index: 0,
    content,
    stop: true,
    model,
    tokens_predicted: usage.outputTokens,
    tokens_evaluated: usage.promptTokens,
    truncated: false,
    stop_type: reason === 'length' ? 'limit' : stop === null ? 'eos' : 'word',
    stopping_word: stop ?? '',
    tokens_cached: usage.cachedPromptTokens ?? 0,
    timings: timings(usage, timing),
  };
}

/** In llama-server's words: rates in tokens per second. */
function timings(usage: Usage, { firstTokenMs, totalMs }: AnswerTiming): object {
  const promptTokens = usage.promptTokens - (usage.cachedPromptTokens ?? 0);
  const predictedMs = totalMs - firstTokenMs;
  const each = (ms: number, tokens: number): number => (tokens === 0 ? 0 : ms / tokens);
  const rate = (ms: number, tokens: number): number => (ms === 0 ? 0 : (1000 * tokens) / ms);
  return {
    prompt_n: promptTokens,
    prompt_ms: firstTokenMs,
    prompt_per_token_ms: each(firstTokenMs, promptTokens),
    prompt_per_second: rate(firstTokenMs, promptTokens),
    predicted_n: usage.outputTokens,
    predicted_ms: predictedMs,
    predicted_per_token_ms: each(predictedMs, usage.outputTokens),
    predicted_per_second: rate(predictedMs, usage.outputTokens),
  };
}

/** The last event has the end of the answer and no text. */
class InfillStream implements StreamEncoder {
  #end: Pick<End, 'reason' | 'stop'> = { reason: 'stop', stop: null };

  constructor(private readonly head: ResponseHead) {}

  encode(event: OutputEvent): string {
    switch (event.kind) {
      case 'text':
        return event.text === '' ? '' : data({ index: 0, content: event.text, stop: false });
      case 'finish':
        this.#end = event;
        return '';
      case 'usage':
        return data(ended(this.head, '', { ...this.#end, ...event }));
      // Texts with a gap have none of these.
      case 'prompt':
      case 'reasoning':
      case 'toolStart':
      case 'toolArguments':
        return '';
      default:
        return event satisfies never;
    }
  }

  failure(error: Parameters<StreamEncoder['failure']>[0]): string {
    return data(errorBody(error));
  }
}

const data = (json: object): string => `data: ${JSON.stringify(json)}\n\n`;
