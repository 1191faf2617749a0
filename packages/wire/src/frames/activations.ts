import { ButterflyError, limits } from '@butterfly/common';
import { encodeFrameWhole } from './frame.js';
import type { Frame } from './frame.js';
import type { Activations, StageTime } from './types.js';

const fixedBytes = 14;
const twoTo32 = 2 ** 32;

/**
 * A full frame in one buffer; its payload is copied, because the next step overwrites it. Short and without helpers,
 * because it runs between the end of one stage and the start of the next, when nothing of it is in the processor's
 * caches.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function encodeActivations({ epoch, stepId, stageTimes, payload }: Activations): Uint8Array[] {
  const header = Buffer.allocUnsafe(fixedBytes + stageTimes.length * 8);
  header.writeUInt32LE(epoch, 0);
  header.writeUInt32LE(stepId % twoTo32, 4);
  header.writeUInt32LE(Math.floor(stepId / twoTo32), 8);
  header.writeUInt16LE(stageTimes.length, 12);
  let at = fixedBytes;
  for (const { computeMicros, hostMicros } of stageTimes) {
    at = header.writeUInt32LE(Math.min(Math.round(computeMicros), twoTo32 - 1), at);
    at = header.writeUInt32LE(Math.min(Math.round(hostMicros), twoTo32 - 1), at);
  }
  return encodeFrameWhole('activations', header, payload);
}

/**
 * The payload stays a view of the frame, at any alignment.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeActivations(frame: Frame): Activations {
  const header = Buffer.from(frame.header.buffer, frame.header.byteOffset, frame.header.byteLength);
  const count = header.length >= fixedBytes ? header.readUInt16LE(12) : -1;
  if (
    frame.type !== 'activations' ||
    count < 1 ||
    count > limits.workersMax ||
    header.length !== fixedBytes + count * 8
  )
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `A header of ${header.length} bytes is none of activations.`,
    );
  const stageTimes: StageTime[] = [];
  for (let at = fixedBytes; at < header.length; at += 8)
    stageTimes.push({ computeMicros: header.readUInt32LE(at), hostMicros: header.readUInt32LE(at + 4) });
  const stepId = header.readUInt32LE(4) + header.readUInt32LE(8) * twoTo32;
  if (!Number.isSafeInteger(stepId))
    throw new ButterflyError('PROTOCOL_INVALID', 'The step id of activations is out of bounds.');
  return { epoch: header.readUInt32LE(0), stepId, stageTimes, payload: frame.payload };
}
