import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ButterflyError, limits } from '@butterfly/common';
import { encodeFrame, FrameDecoder, protocolVersion, putOnChannel } from './frame.js';
import type { Frame, ReceivedFrame } from './frame.js';

const sample = encodeFrame({
  type: 'step',
  header: Buffer.from('a header'),
  payload: Buffer.from('some activations'),
});
const sampleBytes = Buffer.concat(sample);

function decodeAll(...chunks: Uint8Array[]): ReceivedFrame[] {
  const decoder = new FrameDecoder();
  return chunks.flatMap((chunk) => {
    decoder.push(chunk);
    return [...decoder.frames()];
  });
}

const plain = (frame: Frame): object => ({
  type: frame.type,
  header: [...frame.header],
  payload: [...frame.payload],
});

function errorOf(...chunks: Uint8Array[]): ButterflyError {
  try {
    decodeAll(...chunks);
  } catch (thrown) {
    if (thrown instanceof ButterflyError) return thrown;
    throw thrown;
  }
  throw new Error('nothing was thrown');
}

/** The sample with changed prelude fields and a prelude checksum that matches them. */
function withPrelude(change: (prelude: Buffer) => void): Buffer {
  const bytes = Buffer.from(sampleBytes);
  change(bytes);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 20)), 20);
  return bytes;
}

const frames = fc.array(
  fc.oneof(
    fc.record({
      type: fc.constantFrom('control' as const, 'result' as const),
      header: fc.uint8Array({ maxLength: 40 }),
    }),
    fc.record({
      type: fc.constantFrom('step' as const, 'fileChunk' as const),
      header: fc.uint8Array({ maxLength: 40 }),
      payload: fc.uint8Array({ maxLength: 90 }),
    }),
  ),
  { minLength: 1, maxLength: 4 },
);

describe('putOnChannel', () => {
  it('is told of each frame, whose other parts stay what they are', () => {
    const frame = encodeFrame({ type: 'step', header: Buffer.from('h'), payload: Buffer.from('p') });
    putOnChannel(frame, 0xabcd);
    const [first, second] = decodeAll(Buffer.concat([...frame, ...sample]));
    expect([first?.channel, second?.channel]).toEqual([0xabcd, 0]);
    expect([first?.type, String(first?.header), String(first?.payload)]).toEqual(['step', 'h', 'p']);
  });

  it('refuses what is no frame', () => {
    expect(() => putOnChannel([], 1)).toThrow(/no frame/);
    expect(() => putOnChannel([new Uint8Array(10)], 1)).toThrow(/no frame/);
  });
});

describe('encodeFrame', () => {
  it('has the documented layout', () => {
    const head = Buffer.from(sample[0] ?? []);
    expect(head.subarray(0, 4).toString('latin1')).toBe('BFLY');
    expect([head[4], head[5], head.readUInt16LE(6)]).toEqual([protocolVersion, 2, 0]);
    expect([head.readUInt32LE(8), head.readUInt32LE(12)]).toEqual([8, 16]);
    expect(head.readUInt32LE(16)).toBe(crc32('a headersome activations'));
    expect(head.readUInt32LE(20)).toBe(crc32(head.subarray(0, 20)));
  });

  it('passes the payload on without copying and omits an empty one', () => {
    const payload = new Uint8Array(10);
    expect(encodeFrame({ type: 'step', header: new Uint8Array(0), payload })[1]).toBe(payload);
    expect(encodeFrame({ type: 'control', header: new Uint8Array(3) })).toHaveLength(1);
  });

  it('refuses what the peer would refuse', () => {
    const header = new Uint8Array(limits.frameHeaderBytesMax + 1);
    expect(() => encodeFrame({ type: 'control', header })).toThrow(/header of a control frame/);
    const payload = new Uint8Array(limits.fileChunkBytesMax + 1);
    expect(() => encodeFrame({ type: 'fileChunk', header: payload.subarray(0, 1), payload })).toThrow(
      /payload/,
    );
  });
});

describe('FrameDecoder', () => {
  it('yields the same frames at every split point and byte by byte', () => {
    const second = encodeFrame({ type: 'control', header: Buffer.from('{}') });
    const stream = Buffer.concat([...sample, ...second, ...sample]);
    const whole = decodeAll(stream).map(plain);
    expect(whole).toHaveLength(3);
    for (let split = 0; split <= stream.length; split++)
      expect(decodeAll(stream.subarray(0, split), stream.subarray(split)).map(plain)).toEqual(whole);
    expect(decodeAll(...Array.from(stream, (byte) => Uint8Array.of(byte))).map(plain)).toEqual(whole);
  });

  it('restores any frames from any chunks', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(), { maxLength: 8 }), (sent, cuts) => {
        const stream = Buffer.concat(sent.flatMap((frame) => encodeFrame(frame)));
        const ends = [...cuts.map((cut) => cut % (stream.length + 1)), stream.length].sort((a, b) => a - b);
        const chunks = ends.map((end, index) => stream.subarray(ends[index - 1] ?? 0, end));
        const expected = sent.map((frame) => plain({ payload: new Uint8Array(0), ...frame }));
        expect(decodeAll(...chunks).map(plain)).toEqual(expected);
        const decoder = new FrameDecoder();
        for (const chunk of chunks) decoder.push(chunk);
        expect([...decoder.frames()].map(plain)).toEqual(expected);
      }),
    );
  });

  it('passes on a view of the chunk that holds a whole payload', () => {
    const [frame] = decodeAll(sampleBytes);
    expect(frame?.payload.buffer).toBe(sampleBytes.buffer);
  });

  it('gathers a payload of many chunks', () => {
    const payload = Buffer.alloc(3_000_000, 'butterfly');
    const stream = Buffer.concat(encodeFrame({ type: 'step', header: Buffer.from('h'), payload }));
    const chunks = Array.from({ length: Math.ceil(stream.length / 65_536) }, (_, index) =>
      stream.subarray(index * 65_536, (index + 1) * 65_536),
    );
    const [frame] = decodeAll(...chunks);
    expect(payload.equals(frame?.payload ?? new Uint8Array(0))).toBe(true);
  });

  it.each([
    [protocolVersion + 1, 'this one'],
    [protocolVersion - 1, 'the peer'],
  ])('names both versions and the side to upgrade for version %i', (version, side) => {
    const identity = Buffer.from([...Buffer.from('BFLY'), version]);
    for (const bytes of [identity, Buffer.concat([identity, Buffer.alloc(40, 0xff)])]) {
      const error = errorOf(bytes);
      expect(error.code).toBe('PROTOCOL_VERSION');
      expect(error.message).toContain(`version ${version}`);
      expect(error.message).toContain(`version ${protocolVersion}`);
      expect(error.message).toContain(`upgrade Butterfly on the older side, which is ${side}`);
    }
  });

  it('tells a stranger from a peer', () => {
    expect(errorOf(Buffer.from('GET / HTTP/1.1\r\n'))).toMatchObject({
      code: 'PROTOCOL_INVALID',
      message: expect.stringContaining('cluster port') as string,
    });
  });

  it.each<[string, (prelude: Buffer) => void, RegExp]>([
    ['type', (prelude) => prelude.writeUInt8(9, 5), /unknown type 9/],
    ['header length', (prelude) => prelude.writeUInt32LE(0xffffffff, 8), /header of a step frame/],
    ['payload length', (prelude) => prelude.writeUInt32LE(0xffffffff, 12), /payload of a step frame/],
    ['payload of a control frame', (prelude) => prelude.writeUInt8(1, 5), /payload of a control frame/],
    ['body checksum', (prelude) => prelude.writeUInt32LE(1, 16), /corrupted/],
  ])('refuses a bad %s', (_, change, message) => {
    const error = errorOf(withPrelude(change));
    expect(error.code).toBe('PROTOCOL_INVALID');
    expect(error.message).toMatch(message);
  });

  describe('of a stranger', () => {
    const greeting = (bytes: number): Buffer =>
      Buffer.concat(encodeFrame({ type: 'control', header: Buffer.alloc(bytes, ' ') }));

    it('takes small control frames', () => {
      const decoder = new FrameDecoder({ isStranger: true });
      decoder.push(Buffer.concat([greeting(2), greeting(limits.greetingBytesMax)]));
      expect([...decoder.frames()].map(({ type }) => type)).toEqual(['control', 'control']);
    });

    it.each([
      ['a large control frame', greeting(limits.greetingBytesMax + 1)],
      ['a frame with a payload', sampleBytes],
    ])('refuses %s before any of its body', (_, bytes) => {
      const decoder = new FrameDecoder({ isStranger: true });
      decoder.push(bytes.subarray(0, 24));
      expect(() => [...decoder.frames()]).toThrow(/before its sender had proved itself/);
    });

    it('takes everything from the frame on after which it is trusted', () => {
      const decoder = new FrameDecoder({ isStranger: true });
      decoder.push(Buffer.concat([greeting(2), sampleBytes, greeting(limits.greetingBytesMax + 1)]));
      const types: string[] = [];
      for (const { type } of decoder.frames()) {
        types.push(type);
        decoder.trust();
      }
      expect(types).toEqual(['control', 'step', 'control']);
    });
  });

  it('notices every changed byte and never yields another frame', () => {
    for (let at = 0; at < sampleBytes.length; at++) {
      const bytes = Buffer.from(sampleBytes);
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      expect(errorOf(bytes).code).toBe(at === 4 ? 'PROTOCOL_VERSION' : 'PROTOCOL_INVALID');
    }
  });

  it('yields what came before the damage, and then the same error for ever', () => {
    const decoder = new FrameDecoder();
    decoder.push(Buffer.concat([sampleBytes, Buffer.from('noise')]));
    const frames = decoder.frames();
    expect(frames.next().value).toMatchObject({ type: 'step' });
    expect(() => frames.next()).toThrow(/does not speak/);
    decoder.push(sampleBytes);
    expect(() => [...decoder.frames()]).toThrow(/does not speak/);
  });
});
