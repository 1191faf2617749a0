import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FrameDecoder } from './frame.js';
import { type Witnessed, decodeWitnessed, encodeWitnessed } from './witnessed.js';

const witnessed: fc.Arbitrary<Witnessed> = fc.record({
  epoch: fc.nat(0xffff_ffff),
  stepId: fc.maxSafeNat(),
  sequenceId: fc.maxSafeNat(),
  side: fc.constantFrom('sent', 'received'),
  payload: fc.uint8Array({ maxLength: 100 }),
});

it('comes back as it was sent', () => {
  fc.assert(
    fc.property(witnessed, (sent) => {
      const decoder = new FrameDecoder();
      decoder.push(Buffer.concat(encodeWitnessed(sent)));
      const [frame] = [...decoder.frames()];
      if (!frame) throw new Error('no frame');
      const { payload, ...rest } = decodeWitnessed(frame);
      expect({ ...rest, payload: [...payload] }).toEqual({ ...sent, payload: [...sent.payload] });
    }),
  );
});

it('refuses other frames, other lengths and other sides', () => {
  const header = Buffer.alloc(21);
  const none = new Uint8Array(0);
  expect(decodeWitnessed({ type: 'witnessed', header, payload: none })).toMatchObject({ side: 'sent' });
  const refused = { code: 'PROTOCOL_INVALID' };
  for (const frame of [
    { type: 'step', header, payload: none },
    { type: 'witnessed', header: header.subarray(1), payload: none },
    { type: 'witnessed', header: Buffer.concat([header, header]), payload: none },
    { type: 'witnessed', header: Buffer.alloc(21, 2), payload: none },
  ] as const)
    expect(() => decodeWitnessed(frame)).toThrow(expect.objectContaining(refused) as Error);
});
