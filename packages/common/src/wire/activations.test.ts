import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ButterflyError } from '../errors.js';
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

const activations = fc.record({
  epoch: fc.nat(0xffff_ffff),
  stepId: fc.nat(Number.MAX_SAFE_INTEGER),
  stageMicros: fc.array(fc.nat(0xffff_ffff), { minLength: 1, maxLength: 20 }),
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
          expect(decodeActivations(bad).stageMicros.length * 4 + 14).toBe(bad.header.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ButterflyError);
        }
    }),
  );
  expect(() =>
    decodeActivations({ type: 'activations', header: new Uint8Array(13), payload: new Uint8Array(0) }),
  ).toThrow(/13 bytes/);
});
