import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ButterflyError, limits } from '@butterfly/common';
import { decodeActivations, encodeActivations } from './activations.js';
import { FrameDecoder } from './frame.js';
import type { Frame } from './frame.js';

function received(parts: Uint8Array[]): Frame {
  const decoder = new FrameDecoder();
  decoder.push(Buffer.concat(parts));
  const [frame] = [...decoder.frames()];
  if (!frame) throw new Error('no frame');
  return frame;
}

const micros = fc.nat(0xffff_ffff);
const activations = fc.record({
  epoch: fc.nat(0xffff_ffff),
  stepId: fc.nat(Number.MAX_SAFE_INTEGER),
  stageTimes: fc.array(fc.record({ computeMicros: micros, hostMicros: micros }), {
    minLength: 1,
    maxLength: 20,
  }),
  tokens: fc
    .array(fc.nat(0x7fff_ffff), { maxLength: 40 })
    .map((ids) => new Uint8Array(Int32Array.from(ids).buffer)),
  payload: fc.uint8Array({ maxLength: 100 }),
});

it('comes back as it was sent', () => {
  fc.assert(
    fc.property(activations, (sent) => {
      const { payload, tokens, ...rest } = decodeActivations(received(encodeActivations(sent)));
      expect({ ...rest, tokens: [...tokens], payload: [...payload] }).toEqual({
        ...sent,
        tokens: [...sent.tokens],
        payload: [...sent.payload],
      });
    }),
  );
});

it('has the documented layout, with times rounded and cut to 32 bits', () => {
  const stageTimes = [
    { computeMicros: 2.6, hostMicros: 0.4 },
    { computeMicros: 2 ** 40, hostMicros: 7 },
  ];
  const { header } = received(
    encodeActivations({
      epoch: 3,
      stepId: 2 ** 32 + 5,
      stageTimes,
      tokens: new Uint8Array(Int32Array.of(9, 0x7fff_ffff).buffer),
      payload: new Uint8Array(4),
    }),
  );
  const bytes = Buffer.from(header);
  expect([0, 4, 8].map((at) => bytes.readUInt32LE(at))).toEqual([3, 5, 1]);
  expect([12, 14].map((at) => bytes.readUInt16LE(at))).toEqual([2, 2]);
  expect([16, 20, 24, 28].map((at) => bytes.readUInt32LE(at))).toEqual([3, 0, 0xffff_ffff, 7]);
  expect([32, 36].map((at) => bytes.readInt32LE(at))).toEqual([9, 0x7fff_ffff]);
  expect(header).toHaveLength(40);
});

it('is refused with a typed error when the header has another length or none of its kind', () => {
  fc.assert(
    fc.property(activations, fc.uint8Array({ maxLength: 60 }), (sent, header) => {
      const frame = received(encodeActivations(sent));
      for (const bad of [
        { ...frame, header },
        { ...frame, header: frame.header.subarray(0, -1) },
        { ...frame, type: 'step' as const },
      ])
        try {
          const { stageTimes, tokens } = decodeActivations(bad);
          expect(stageTimes.length * 8 + tokens.length + 16).toBe(bad.header.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ButterflyError);
        }
    }),
  );
  expect(() =>
    decodeActivations({ type: 'activations', header: new Uint8Array(13), payload: new Uint8Array(0) }),
  ).toThrow(/13 bytes/);
});

it('takes no tokens that there cannot be, on either side', () => {
  const none = {
    epoch: 1,
    stepId: 1,
    stageTimes: [{ computeMicros: 1, hostMicros: 1 }],
    payload: new Uint8Array(0),
  };
  const refused: unknown = expect.objectContaining({ code: 'PROTOCOL_INVALID' });
  const ids = (...tokens: number[]): Uint8Array => new Uint8Array(Int32Array.from(tokens).buffer);
  for (const tokens of [ids(-1), ids(3, -7), new Uint8Array(6), new Uint8Array(4 * limits.stepRowsMax + 4)])
    expect(() => encodeActivations({ ...none, tokens })).toThrow(refused);
  const frame = received(encodeActivations({ ...none, tokens: ids(1, 2) }));
  const header = Buffer.from(frame.header);
  header.writeInt32LE(-2, header.length - 4);
  expect(() => decodeActivations({ ...frame, header })).toThrow(refused);
  // More of them than there are in the frame.
  const claims = Buffer.from(frame.header);
  claims.writeUInt16LE(0xffff, 14);
  expect(() => decodeActivations({ ...frame, header: claims })).toThrow(refused);
});
