import type { Choice, OutputEvent, ScoredToken, WholeAnswer } from '@butterfly/generation';
import type { AnswerEncoding, ResponseHead, StreamEncoder } from '../answers/dialect.js';
import { serverSentEvents } from '../http/open-stream.js';
import { ChunkTexts } from './chunks.js';
import { errorBody } from './error-body.js';
import { textLogprobs } from './logprobs.js';
import { finishWord, newId, usageObject } from './words.js';

/** How the answers of one request to `/v1/completions` are written. */
export interface TextWishes {
  readonly includeUsage: boolean;
  readonly hasLogprobs: boolean;
  /** The text of the prompt, which stands before each answer; null where it does not. */
  readonly echo: string | null;
}

/** `/v1/completions` */
export const textEncoding = (wishes: TextWishes): AnswerEncoding => ({
  form: serverSentEvents,
  newId: () => newId('cmpl'),
  whole: (head, answer) => wholeText(head, answer, wishes),
  stream: (head) => new TextStream(head, wishes),
});

function wholeText(
  { id, createdS, model }: ResponseHead,
  { choices, usage, prompt }: WholeAnswer,
  { hasLogprobs, echo }: TextWishes,
): object {
  const said = ({ tokens }: Choice): readonly ScoredToken[] =>
    echo === null ? tokens : [...prompt, ...tokens];
  return {
    id,
    object: 'text_completion',
    created: createdS,
    model,
    choices: choices.map((choice, index) => ({
      index,
      text: (echo ?? '') + choice.text,
      logprobs: hasLogprobs ? textLogprobs(said(choice), 0) : null,
      finish_reason: finishWord(choice.reason),
    })),
    usage: usageObject(usage),
  };
}

/** With an echo, each choice begins with the text of the prompt. */
class TextStream implements StreamEncoder {
  readonly #chunks: ChunkTexts;
  readonly #begun = new Set<number>();
  /** Characters of the tokens that were told of, by choice. */
  readonly #told = new Map<number, number>();
  #prompt: readonly ScoredToken[] = [];

  constructor(
    head: ResponseHead,
    private readonly wishes: TextWishes,
  ) {
    this.#chunks = new ChunkTexts(head, 'text_completion', wishes.includeUsage);
  }

  encode(event: OutputEvent): string {
    switch (event.kind) {
      case 'prompt':
        this.#prompt = event.tokens;
        return '';
      case 'text':
        return this.#begin(event.choice) + this.#part(event.choice, event.text, event.tokens ?? []);
      case 'finish':
        return (
          this.#begin(event.choice) + this.#chunks.finish(event.choice, '"text":""', finishWord(event.reason))
        );
      case 'usage':
        return this.#chunks.end(event.usage);
      // Plain texts have neither.
      case 'reasoning':
      case 'toolStart':
      case 'toolArguments':
        return '';
      default:
        return event satisfies never;
    }
  }

  failure(error: Parameters<StreamEncoder['failure']>[0]): string {
    return `data: ${JSON.stringify(errorBody(error))}\n\n`;
  }

  #begin(choice: number): string {
    const { echo } = this.wishes;
    if (echo === null || this.#begun.has(choice)) return '';
    this.#begun.add(choice);
    return this.#part(choice, echo, this.#prompt);
  }

  #part(choice: number, text: string, tokens: readonly ScoredToken[]): string {
    if (text === '' && tokens.length === 0) return '';
    const fields = `"text":${JSON.stringify(text)}`;
    if (!this.wishes.hasLogprobs || tokens.length === 0) return this.#chunks.part(choice, fields);
    const told = this.#told.get(choice) ?? 0;
    this.#told.set(choice, told + tokens.reduce((sum, token) => sum + token.text.length, 0));
    return this.#chunks.part(choice, fields, JSON.stringify(textLogprobs(tokens, told)));
  }
}
