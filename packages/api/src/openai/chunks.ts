import type { Usage } from '@butterfly/generation';
import type { ResponseHead } from '../answers/dialect.js';
import { usageObject } from './words.js';

/** The events of a stream of OpenAI's chunks. All that is constant is built once, so that a token costs one short text. */
export class ChunkTexts {
  readonly #common: string;
  readonly #usage: string;

  /** @param includeUsage has OpenAI put a null into every chunk, and the usage into one more at the end */
  constructor(
    { id, createdS, model }: ResponseHead,
    object: string,
    private readonly includeUsage: boolean,
  ) {
    this.#common = JSON.stringify({ id, created: createdS, model, object }).slice(0, -1);
    this.#usage = includeUsage ? ',"usage":null' : '';
  }

  /** @param fields JSON text of what a choice has beside its index @param logprobs JSON text */
  part(choice: number, fields: string, logprobs = 'null'): string {
    return this.#chunk(choice, fields, logprobs, 'null');
  }

  finish(choice: number, fields: string, reason: string): string {
    return this.#chunk(choice, fields, 'null', JSON.stringify(reason));
  }

  /** The last words of a stream. */
  end(usage: Usage): string {
    const last = `data: ${this.#common},"choices":[],"usage":${JSON.stringify(usageObject(usage))}}\n\n`;
    return `${this.includeUsage ? last : ''}data: [DONE]\n\n`;
  }

  #chunk(choice: number, fields: string, logprobs: string, reason: string): string {
    return `data: ${this.#common},"choices":[{"index":${choice},${fields},"logprobs":${logprobs},"finish_reason":${reason}}]${this.#usage}}\n\n`;
  }
}
