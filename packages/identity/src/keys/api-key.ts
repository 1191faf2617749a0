import { randomBytes } from 'node:crypto';

/** What a client shows of who it is. */
export interface ApiKey {
  /** By which it is listed and revoked; no secret. 12 hexadecimal digits. */
  readonly id: string;
  readonly secret: Buffer;
}

const prefix = 'bfk-';
const idBytes = 6;
const secretBytes = 24;

/** A key of 192 random bits. */
export function newApiKey(): ApiKey {
  return { id: randomBytes(idBytes).toString('hex'), secret: randomBytes(secretBytes) };
}

/** As people copy it: one word of letters, digits, - and _. */
export function formatApiKey({ id, secret }: ApiKey): string {
  return prefix + Buffer.concat([Buffer.from(id, 'hex'), secret]).toString('base64url');
}

/** Whether a text means to be a key, whatever clients send where there are none. */
export function looksLikeApiKey(text: string): boolean {
  return text.startsWith(prefix);
}

/** Null for a text that is none. */
export function parseApiKey(text: string): ApiKey | null {
  const bytes = Buffer.from(looksLikeApiKey(text) ? text.slice(prefix.length) : '', 'base64url');
  const key = { id: bytes.subarray(0, idBytes).toString('hex'), secret: bytes.subarray(idBytes) };
  // What is no letter of the alphabet is skipped by the decoder, so that the way back must give the same text.
  return bytes.length === idBytes + secretBytes && formatApiKey(key) === text ? key : null;
}
