import { isUtf8 } from 'node:buffer';
import { ButterflyError, limits } from '@butterfly/common';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HttpRefusal } from './errors.js';

/**
 * Reads bodies as JSON in UTF-8 and nothing else, since whatever is replaced on the way is not what was asked. A body
 * that holds far more values than a request that fits is refused too: a value can take a hundred times the time and
 * memory of its text, so that a body within its limit could stop the process.
 */
export function readBodiesAsJson(app: FastifyInstance, contextTokensMax: number): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  const valuesMax = contextTokensMax + limits.requestValuesBesideTokensMax;
  app.addHook('preParsing', (request, _reply, _payload, done) => {
    const refusal = encodingRefusal(request) ?? charsetRefusal(request);
    // Undefined leaves the body as it is.
    if (refusal) done(refusal);
    else done();
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    const body = textOfBody(bytes, valuesMax);
    if (body instanceof ButterflyError) {
      done(body);
      return;
    }
    void parse(request, body, (error, value: unknown) => {
      done(error ?? halfCharacterIn(body, value), value);
    });
  });
}

/** What of a body is then read as JSON, or why it is not. */
export function textOfBody(bytes: Buffer, valuesMax: number): string | ButterflyError {
  if (!isUtf8(bytes)) return notUtf8(bytes);
  const body = bytes.toString();
  if (isWithin(body, valuesMax)) return body;
  return new ButterflyError(
    'REQUEST_TOO_LARGE',
    `The body has over ${valuesMax} values, or nests them deeper than ${limits.requestDepthMax}; shorten it.`,
  );
}

/** What is wrong with the strings of a body that was read. */
export function halfCharacterIn(body: string, value: unknown): ButterflyError | null {
  return surrogateEscape.test(body) ? halfCharacter(value, []) : null;
}

/** What compresses bodies is not here. */
function encodingRefusal({ headers }: FastifyRequest): HttpRefusal | null {
  const encodings = (headers['content-encoding'] ?? '').split(',').map((each) => each.trim());
  const other = encodings.find((each) => each !== '' && each.toLowerCase() !== 'identity');
  if (other === undefined) return null;
  return new HttpRefusal(
    415,
    `The content-encoding "${other}" is not supported; send the body as it is, without content-encoding.`,
    { 'accept-encoding': 'identity' },
  );
}

function charsetRefusal({ headers }: FastifyRequest): HttpRefusal | null {
  const charset = /;\s*charset\s*=\s*("[^"]*"|[^;]*)/i.exec(headers['content-type'] ?? '')?.[1] ?? '';
  const name = charset.replaceAll('"', '').trim();
  if (/^(?:utf-?8)?$/i.test(name)) return null;
  return new HttpRefusal(415, `The charset "${name}" is not supported; send the body in UTF-8.`);
}

/** Marks at the beginning of a text by which other encodings are told; those of four bytes first. */
const marks: readonly (readonly [name: string, bytes: readonly number[]])[] = [
  ['UTF-32', [0xff, 0xfe, 0, 0]],
  ['UTF-32', [0, 0, 0xfe, 0xff]],
  ['UTF-16', [0xff, 0xfe]],
  ['UTF-16', [0xfe, 0xff]],
];

function notUtf8(bytes: Buffer): HttpRefusal {
  const mark = marks.find(([, start]) => start.every((byte, at) => bytes[at] === byte));
  if (mark) return new HttpRefusal(415, `The body is ${mark[0]}; send it in UTF-8.`);
  const at = firstUnreadable(bytes);
  return new HttpRefusal(
    400,
    `The body is not UTF-8: byte ${at} (0x${(bytes[at] ?? 0).toString(16).padStart(2, '0')}) is part of no character; send it in UTF-8.`,
  );
}

const pieceBytes = 64 * 1024;

/** What cannot be read becomes U+FFFD, so the text differs from what was sent at the first such byte. */
function firstUnreadable(bytes: Buffer): number {
  const readable = Buffer.from(bytes.toString());
  let start = 0;
  const piece = (of: Buffer) => of.subarray(start, start + pieceBytes);
  while (start < bytes.length && piece(bytes).equals(piece(readable))) start += pieceBytes;
  const found = piece(bytes).findIndex((byte, index) => byte !== readable[start + index]);
  // The beginning of U+FFFD itself, cut off by the end of the body.
  return found < 0 ? bytes.length - 1 : start + found;
}

const surrogateEscape = /\\u[dD][89a-fA-F]/;

/** The first string, or name of a field, that has half a surrogate pair, for which UTF-8 has no bytes. */
function halfCharacter(value: unknown, path: readonly string[]): ButterflyError | null {
  if (typeof value === 'string') {
    if (value.isWellFormed()) return null;
    const param = path.join('.') || 'body';
    return new ButterflyError(
      'REQUEST_INVALID',
      `${param}: has half a surrogate pair (one of \\ud800 to \\udfff alone), which is no character; send both halves or leave it out.`,
      { param },
    );
  }
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, item] of Object.entries(value)) {
    const found = halfCharacter(key.isWellFormed() ? item : key, [...path, key.toWellFormed()]);
    if (found) return found;
  }
  return null;
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
