import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ButterflyError } from '@butterfly/common';
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
  payload: fc.uint8Array({ maxLength: 100 }),
});

it('comes back as it was sent', () => {
  fc.assert(
    fc.property(activations, (sent) => {
      const { payload, ...rest } = decodeActivations(received(encodeActivations(sent)));
      expect({ ...rest, payload: [...payload] }).toEqual({ ...sent, payload: [...sent.payload] });
    }),
  );
});

it('has the documented layout, with times rounded and cut to 32 bits', () => {
  const stageTimes = [
    { computeMicros: 2.6, hostMicros: 0.4 },
    { computeMicros: 2 ** 40, hostMicros: 7 },
  ];
  const { header } = received(
    encodeActivations({ epoch: 3, stepId: 2 ** 32 + 5, stageTimes, payload: new Uint8Array(4) }),
  );
  const bytes = Buffer.from(header);
  expect([0, 4, 8].map((at) => bytes.readUInt32LE(at))).toEqual([3, 5, 1]);
  expect(bytes.readUInt16LE(12)).toBe(2);
  expect([14, 18, 22, 26].map((at) => bytes.readUInt32LE(at))).toEqual([3, 0, 0xffff_ffff, 7]);
  expect(header).toHaveLength(30);
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
          expect(decodeActivations(bad).stageTimes.length * 8 + 14).toBe(bad.header.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ButterflyError);
        }
    }),
  );
  expect(() =>
    decodeActivations({ type: 'activations', header: new Uint8Array(13), payload: new Uint8Array(0) }),
  ).toThrow(/13 bytes/);
});
