import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyInstance } from 'fastify';

/**
 * Reads bodies as JSON, but none that holds far more values than a request that fits: a value can take a hundred times
 * the time and memory of its text, so that a body within its limit could stop the process.
 */
export function readBodiesAsJson(app: FastifyInstance, contextTokensMax: number): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  const valuesMax = contextTokensMax + limits.requestValuesBesideTokensMax;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (isWithin(body, valuesMax)) return void parse(request, body, done);
    const message = `The body has over ${valuesMax} values, or nests them deeper than ${limits.requestDepthMax}; shorten it.`;
    done(new ButterflyError('REQUEST_TOO_LARGE', message));
  });
}

/** Counts containers and commas outside of strings, without building anything. */
function isWithin(json: string, valuesMax: number): boolean {
  let values = 0;
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(json, at);
        break;
      case 0x5b: // [
      case 0x7b: // {
        values++;
        depth++;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
      case 0x2c: // ,
        values++;
        break;
    }
    if (values > valuesMax || depth > limits.requestDepthMax) return false;
  }
  return true;
}

/** The index of the quote that ends the string, or the length where none does. */
function endOfString(json: string, start: number): number {
  let end = start;
  for (;;) {
    end = json.indexOf('"', end + 1);
    if (end < 0) return json.length;
    let backslashes = 0;
    while (json.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}
