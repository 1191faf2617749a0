import { describe, expect, it } from 'vitest';
import { FrameDecoder, type Frame } from './frame.js';
import { decodeVocabulary, encodeVocabulary, type TokenTable } from './vocabulary.js';

const table: TokenTable = {
  bytes: Uint8Array.of(0x61, 0xc3, 0xa9),
  offsets: Uint32Array.of(0, 1, 1, 3),
  isSpecial: Uint8Array.of(0, 1, 0),
  stopTokens: Int32Array.of(1),
};

function sent(parts: readonly Uint8Array[]): Frame {
  const decoder = new FrameDecoder();
  for (const part of parts) decoder.push(part);
  const [frame] = [...decoder.frames()];
  if (!frame) throw new Error('No frame came.');
  return frame;
}

describe('the frame of a vocabulary', () => {
  it('arrives as it was sent', () => {
    const received = decodeVocabulary(sent(encodeVocabulary(table)));
    expect(received.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect({ ...received, bytes: Uint8Array.from(received.bytes) }).toEqual(table);
  });

  it.each([
    ['no tokens', { ...table, offsets: Uint32Array.of(0), bytes: new Uint8Array(0) }],
    ['stop tokens that are none of its tokens', { ...table, stopTokens: Int32Array.of(3) }],
    [
      'a token that is too long',
      { ...table, offsets: Uint32Array.of(0, 2000, 2000, 2000), bytes: new Uint8Array(2000) },
    ],
  ])('is refused with %s', (_, wrong) => {
    expect(() => encodeVocabulary(wrong)).toThrow('A vocabulary frame has');
  });

  it('is refused when its bytes are not those of its tokens', () => {
    const frame = sent(encodeVocabulary(table));
    expect(() => decodeVocabulary({ ...frame, payload: frame.payload.subarray(1) })).toThrow(
      'vocabulary frame',
    );
    expect(() => decodeVocabulary({ ...frame, payload: new Uint8Array(64) })).toThrow('vocabulary frame');
  });
});
