import { ButterflyError, limits } from '@butterfly/common';
import { ByteReader, ByteWriter } from './bytes.js';
import { encodeFrame } from './frame.js';
import type { Frame } from './frame.js';

/** What the tokens of a model stand for. */
export interface TokenTable {
  /** Bytes of all tokens, one after the other. */
  readonly bytes: Uint8Array;
  /** Where each token begins in `bytes`, and where the last one ends: one more than there are tokens. */
  readonly offsets: Uint32Array;
  /** 1 for tokens that have no text in an answer: control tokens and unknown ones. */
  readonly isSpecial: Uint8Array;
  /** Tokens that end an answer. */
  readonly stopTokens: Int32Array;
}

const fixedBytes = 6;
/** Of each token, before its bytes: how many they are, and whether it is a special one. */
const tokenBytes = 3;
const stopTokensMax = 0xffff;

/**
 * A full frame. Its header has the counts of tokens and stop tokens, and the stop tokens; its payload the lengths of all
 * tokens, u16 each, a byte for each that is 1 for special ones, and the bytes of all.
 * @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds
 */
export function encodeVocabulary({ bytes, offsets, isSpecial, stopTokens }: TokenTable): Uint8Array[] {
  const tokens = offsets.length - 1;
  check(tokens, stopTokens, bytes.length);
  const header = new ByteWriter(fixedBytes + stopTokens.byteLength);
  header.u32(tokens);
  header.u16(stopTokens.length);
  header.int32s(stopTokens);
  const payload = new ByteWriter(tokens * tokenBytes + bytes.length);
  for (let token = 0; token < tokens; token++) {
    const length = (offsets[token + 1] ?? 0) - (offsets[token] ?? 0);
    if (length < 0 || length > limits.tokenTextBytesMax) throw invalid(`a token of ${length} bytes`);
    payload.u16(length);
  }
  payload.put(isSpecial.subarray(0, tokens));
  payload.put(bytes);
  return encodeFrame({ type: 'vocabulary', header: header.bytes, payload: payload.bytes });
}

/** @throws ButterflyError PROTOCOL_INVALID */
export function decodeVocabulary(frame: Frame): TokenTable {
  if (frame.type !== 'vocabulary') throw invalid(`the type ${frame.type}`);
  const header = new ByteReader(frame.header, 'vocabulary');
  const tokens = header.u32();
  const stopTokens = header.int32s(header.u16());
  header.end();
  check(tokens, stopTokens, frame.payload.length - tokens * tokenBytes);
  const payload = new ByteReader(frame.payload, 'vocabulary');
  const offsets = new Uint32Array(tokens + 1);
  for (let token = 0; token < tokens; token++) offsets[token + 1] = (offsets[token] ?? 0) + payload.u16();
  const isSpecial = Uint8Array.from(payload.bytes(tokens));
  // Shared memory, so that threads may read it without a copy for each.
  const bytes = new Uint8Array(new SharedArrayBuffer(offsets[tokens] ?? 0));
  bytes.set(payload.bytes(bytes.length));
  payload.end();
  return { bytes, offsets, isSpecial, stopTokens };
}

function check(tokens: number, stopTokens: Int32Array, bytes: number): void {
  if (tokens < 1 || tokens > limits.vocabularyTokensMax) throw invalid(`${tokens} tokens`);
  if (bytes < 0 || bytes > limits.tokenPiecesBytesMax) throw invalid(`${bytes} bytes of tokens`);
  if (stopTokens.length > stopTokensMax || stopTokens.some((token) => token < 0 || token >= tokens))
    throw invalid('stop tokens that are none of its tokens');
}

function invalid(what: string): ButterflyError {
  return new ButterflyError('PROTOCOL_INVALID', `A vocabulary frame has ${what}, which is out of bounds.`);
}
