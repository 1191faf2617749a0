import { randomBytes } from 'node:crypto';
import { ButterflyError } from '@butterfly/common';

/** What a new worker is given: which authority to believe, and what that authority will believe. */
export interface JoinToken {
  /** SHA-256 of the authority's certificate. */
  readonly fingerprint: Buffer;
  /** By which it is listed and revoked; no secret. 12 hexadecimal digits. */
  readonly id: string;
  readonly secret: Buffer;
}

const prefix = 'bf1-';
const fingerprintBytes = 32;
const idBytes = 6;
const secretBytes = 16;
const tokenBytes = fingerprintBytes + idBytes + secretBytes;

/** A token for this authority, of 128 random bits. */
export function newJoinToken(fingerprint: Buffer): JoinToken {
  return { fingerprint, id: randomBytes(idBytes).toString('hex'), secret: randomBytes(secretBytes) };
}

/** As people copy it: one word of letters, digits, - and _. */
export function formatJoinToken({ fingerprint, id, secret }: JoinToken): string {
  return prefix + Buffer.concat([fingerprint, Buffer.from(id, 'hex'), secret]).toString('base64url');
}

/** @throws ButterflyError CONFIG_INVALID for a text that is none */
export function parseJoinToken(text: string): JoinToken {
  const bytes = Buffer.from(text.startsWith(prefix) ? text.slice(prefix.length) : '', 'base64url');
  // What is no letter of the alphabet is skipped by the decoder, so that the way back must give the same text.
  const token = {
    fingerprint: bytes.subarray(0, fingerprintBytes),
    id: bytes.subarray(fingerprintBytes, fingerprintBytes + idBytes).toString('hex'),
    secret: bytes.subarray(fingerprintBytes + idBytes),
  };
  if (bytes.length !== tokenBytes || formatJoinToken(token) !== text)
    throw new ButterflyError(
      'CONFIG_INVALID',
      'The join token is none of "butterfly token create" or "butterfly serve", or a part of it is missing; copy all of it, from "bf1-" on.',
      { param: 'token' },
    );
  return token;
}
