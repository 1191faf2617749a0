import type { OutputEvent, WholeAnswer } from '@butterfly/generation';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { serverSentEvents } from '../http/open-stream.js';
import { ChunkTexts } from './chunks.js';
import { errorBody } from './error-body.js';
import { finishWord, newId, usageObject } from './words.js';

/** `/v1/completions` */
export const textEncoding = (includeUsage: boolean): AnswerEncoding => ({
  form: serverSentEvents,
  newId: () => newId('cmpl'),
  whole: wholeText,
  stream: (head) => textStream(head, includeUsage),
});

function wholeText({ id, createdS, model }: ResponseHead, { choices, usage }: WholeAnswer): object {
  return {
    id,
    object: 'text_completion',
    created: createdS,
    model,
    choices: choices.map(({ text, reason }, index) => ({
      index,
      text,
      logprobs: null,
      finish_reason: finishWord(reason),
    })),
    usage: usageObject(usage),
  };
}

function textStream(head: ResponseHead, includeUsage: boolean): StreamEncoder {
  const chunks = new ChunkTexts(head, 'text_completion', includeUsage);
  const encode = (event: OutputEvent): string => {
    switch (event.kind) {
      case 'text':
        return event.text === '' ? '' : chunks.part(event.choice, `"text":${JSON.stringify(event.text)}`);
      case 'finish':
        return chunks.finish(event.choice, '"text":""', finishWord(event.reason));
      case 'usage':
        return chunks.end(event.usage);
      // Plain texts have neither.
      case 'reasoning':
      case 'toolStart':
      case 'toolArguments':
        return '';
      default:
        return event satisfies never;
    }
  };
  return { encode, failure: (error) => `data: ${JSON.stringify(errorBody(error))}\n\n` };
}
