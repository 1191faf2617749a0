import { crc32 } from 'node:zlib';
import { limits } from '@butterfly/common';
import {
  type Frame,
  FrameDecoder,
  type FrameType,
  decodeActivations,
  decodeControl,
  decodeFileChunk,
  decodeStep,
  decodeStepResult,
  decodeVocabulary,
  decodeWitnessed,
  encodeActivations,
  encodeControl,
  encodeFileChunk,
  encodeStep,
  encodeStepResult,
  encodeVocabulary,
  encodeWitnessed,
  protocolVersion,
} from '@butterfly/wire';
import type { Below } from '../engine/mutate.js';
import type { FuzzTarget } from '../engine/target.js';

/** Decodes a frame, and writes what it got once more: what is let in must be what could be sent. */
const again: Readonly<Record<FrameType, (frame: Frame) => unknown>> = {
  control: (frame) => encodeControl(decodeControl(frame)),
  step: (frame) => encodeStep(decodeStep(frame)),
  result: (frame) => encodeStepResult(decodeStepResult(frame)),
  fileChunk: (frame) => encodeFileChunk(decodeFileChunk(frame)),
  activations: (frame) => encodeActivations(decodeActivations(frame)),
  vocabulary: (frame) => encodeVocabulary(decodeVocabulary(frame)),
  witnessed: (frame) => encodeWitnessed(decodeWitnessed(frame)),
};

const preludeBytes = 24;
/** One that says whether a stranger sends it, one that says how it is cut into chunks. */
const settingBytes = 2;

/** A stream of frames in chunks: the first two bytes are settings, the rest is what arrives. */
export const frames: FuzzTarget = {
  name: 'frames',
  inputBytesMax: 4096,
  words: ['BFLY', Uint8Array.of(protocolVersion, 1, 0, 0), Uint8Array.of(protocolVersion, 2, 0, 0)],
  repair: repaired,
  run(input) {
    const decoder = new FrameDecoder({ isStranger: ((input[0] ?? 0) & 1) === 1 });
    const stream = input.subarray(settingBytes);
    const chunkBytes = 1 + (input[1] ?? 0);
    for (let at = 0; at < stream.length; at += chunkBytes) {
      decoder.push(stream.subarray(at, at + chunkBytes));
      for (const frame of decoder.frames()) {
        again[frame.type](frame);
        decoder.trust();
      }
    }
  },
};

/** Gives every frame the lengths and checksums that its bytes ask for. */
function repaired(input: Uint8Array, below: Below): Uint8Array {
  const bytes = Buffer.from(input);
  let at = settingBytes;
  while (at + preludeBytes <= bytes.length) {
    if (below(16) > 0) bytes.write('BFLY', at, 'latin1');
    if (below(16) > 0) bytes[at + 4] = protocolVersion;
    let headerBytes = bytes.readUInt32LE(at + 8);
    let payloadBytes = bytes.readUInt32LE(at + 12);
    const left = bytes.length - at - preludeBytes;
    if (headerBytes + payloadBytes > left && below(8) > 0) {
      headerBytes = Math.min(headerBytes, left);
      payloadBytes = left - headerBytes;
      bytes.writeUInt32LE(headerBytes, at + 8);
      bytes.writeUInt32LE(payloadBytes, at + 12);
    }
    const end = Math.min(bytes.length, at + preludeBytes + headerBytes + payloadBytes);
    bytes.writeUInt32LE(crc32(bytes.subarray(at + preludeBytes, end)), at + 16);
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + 20)), at + 20);
    at = end;
  }
  return bytes;
}

/** One frame behind its checksums: two bytes with the length of its header, the header, the payload. */
function bodyOf(type: FrameType): FuzzTarget {
  return {
    name: `frame-${type}`,
    inputBytesMax: 2048,
    words: [],
    run(input) {
      const headerBytes = (input[0] ?? 0) + (input[1] ?? 0) * 256;
      const body = input.subarray(2);
      again[type]({ type, header: body.subarray(0, headerBytes), payload: body.subarray(headerBytes) });
    },
  };
}

export const frameBodies: readonly FuzzTarget[] = [
  bodyOf('step'),
  bodyOf('result'),
  bodyOf('activations'),
  bodyOf('fileChunk'),
  bodyOf('vocabulary'),
  bodyOf('witnessed'),
];

/** A control message: the header of its frame. */
export const control: FuzzTarget = {
  name: 'control',
  inputBytesMax: limits.greetingBytesMax,
  isJson: true,
  words: [
    ...'enrol enrolled renew renewed revoked hello welcome profile probe probed peer peerWelcome probeBlock ping pong'.split(
      ' ',
    ),
    ...'error bye prepare release progress prepared unprepared fetch fetchMissing digests digested assign unassign'.split(
      ' ',
    ),
    ...'ready failed link linked constraint dropConstraint constraintReady constraintRefused kind'.split(' '),
    ...'epoch shardId workerId host port model layers stage reason message code requestId file offset bytes'.split(
      ' ',
    ),
  ],
  run(input) {
    const header = Buffer.from(input);
    const message = decodeControl({ type: 'control', header, payload: new Uint8Array(0) });
    encodeControl(message);
  },
};
