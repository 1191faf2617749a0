import { ButterflyError, limits } from '@butterfly/common';
import { valueOf } from '@butterfly/jinja';
import { Dict, Text, type Value } from '@butterfly/python';
import type { PlainMessage } from './chat-message.js';

/**
 * The arguments of the calls of one conversation as objects, for templates that take them apart. They are text within the
 * body of a request, whose bounds do not see inside: here they count against the same ones.
 */
export class CallArguments {
  #valuesLeft: number = limits.requestValuesBesideTokensMax;

  /** @throws ButterflyError REQUEST_INVALID for what is no JSON of an object; REQUEST_TOO_LARGE */
  value(text: string, where: string): Value {
    if (text.trim() === '') return new Dict();
    this.#count(text, where);
    const value = valueOf(parsed(text, where), (string) => {
      if (/\p{Surrogate}/u.test(string)) throw notAnObject(where, 'it has half a surrogate pair');
      return Text.client(string);
    });
    if (!(value instanceof Dict)) throw notAnObject(where, 'it is another value');
    return value;
  }

  #count(text: string, where: string): void {
    let depth = 0;
    for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]/gs)) {
      if (token === '[' || token === '{') depth++;
      if (token === ']' || token === '}') depth--;
      if (!token.startsWith('"')) this.#valuesLeft--;
      if (depth > limits.requestDepthMax || this.#valuesLeft < 0)
        throw new ButterflyError(
          'REQUEST_TOO_LARGE',
          `${where}: arguments of calls may be nested ${limits.requestDepthMax} deep and have ${limits.requestValuesBesideTokensMax} values in all messages together.`,
          { param: where },
        );
    }
  }
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notAnObject(where, cause instanceof Error ? cause.message : String(cause));
  }
}

const notAnObject = (where: string, why: string): ButterflyError =>
  new ButterflyError('REQUEST_INVALID', `${where}: expected the JSON text of an object, but ${why}.`, {
    param: where,
  });

/** Where a call of a message is in a request. */
export const argumentsPath = (message: number, call: number): string =>
  `messages.${message}.tool_calls.${call}.function.arguments`;

/** A message that keeps its place in the request, for the words of errors, wherever it is moved to. */
export interface PlacedMessage extends PlainMessage {
  readonly place: number;
}
