import { ButterflyError, limits } from '@butterfly/common';
import { encodeFrameWhole } from './frame.js';
import type { Frame } from './frame.js';
import type { Activations, StageTime } from './types.js';

const fixedBytes = 16;
const twoTo32 = 2 ** 32;

/**
 * A full frame in one buffer; its payload is copied, because the next step overwrites it. Short and without helpers,
 * because it runs between the end of one stage and the start of the next, when nothing of it is in the processor's
 * caches.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function encodeActivations({ epoch, stepId, stageTimes, tokens, payload }: Activations): Uint8Array[] {
  checkTokens(tokens);
  const header = Buffer.allocUnsafe(fixedBytes + stageTimes.length * 8 + tokens.length);
  header.writeUInt32LE(epoch, 0);
  header.writeUInt32LE(stepId % twoTo32, 4);
  header.writeUInt32LE(Math.floor(stepId / twoTo32), 8);
  header.writeUInt16LE(stageTimes.length, 12);
  header.writeUInt16LE(tokens.length / 4, 14);
  let at = fixedBytes;
  for (const { computeMicros, hostMicros } of stageTimes) {
    at = header.writeUInt32LE(Math.min(Math.round(computeMicros), twoTo32 - 1), at);
    at = header.writeUInt32LE(Math.min(Math.round(hostMicros), twoTo32 - 1), at);
  }
  if (tokens.length > 0) header.set(tokens, at);
  return encodeFrameWhole('activations', header, payload);
}

/**
 * Payload and tokens stay views of the frame, at any alignment.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeActivations(frame: Frame): Activations {
  const header = Buffer.from(frame.header.buffer, frame.header.byteOffset, frame.header.byteLength);
  const isWhole = frame.type === 'activations' && header.length >= fixedBytes;
  const count = isWhole ? header.readUInt16LE(12) : 0;
  const tokenBytes = isWhole ? 4 * header.readUInt16LE(14) : 0;
  const timesEnd = fixedBytes + 8 * count;
  if (count < 1 || count > limits.workersMax || header.length !== timesEnd + tokenBytes)
    throw invalid(`A header of ${header.length} bytes is none of activations.`);
  const stageTimes: StageTime[] = [];
  for (let at = fixedBytes; at < timesEnd; at += 8)
    stageTimes.push({ computeMicros: header.readUInt32LE(at), hostMicros: header.readUInt32LE(at + 4) });
  const tokens = header.subarray(timesEnd);
  checkTokens(tokens);
  const stepId = header.readUInt32LE(4) + header.readUInt32LE(8) * twoTo32;
  if (!Number.isSafeInteger(stepId)) throw invalid('The step id of activations is out of bounds.');
  return { epoch: header.readUInt32LE(0), stepId, stageTimes, tokens, payload: frame.payload };
}

/** Both sides check, as of steps. */
function checkTokens(tokens: Uint8Array): void {
  if (tokens.length === 0) return;
  if (tokens.length % 4 !== 0 || tokens.length > 4 * limits.stepRowsMax)
    throw invalid(`Activations come with ${tokens.length} bytes of tokens.`);
  const view = new DataView(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  for (let at = 0; at < tokens.length; at += 4)
    if (view.getInt32(at, true) < 0) throw invalid('Activations come with a token below 0.');
}

function invalid(message: string): ButterflyError {
  return new ButterflyError('PROTOCOL_INVALID', message);
}
