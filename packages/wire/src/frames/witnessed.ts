import { ButterflyError } from '@butterfly/common';
import { ByteReader, ByteWriter } from './bytes.js';
import { integer, u32Max } from './checks.js';
import { type Frame, encodeFrameWhole } from './frame.js';

/**
 * What crossed a cut of the model of one sequence in one step, as a stage saw it that was asked for that: the stage before
 * the cut tells what it sent, the one behind it what it received.
 */
export interface Witnessed {
  readonly epoch: number;
  readonly stepId: number;
  readonly sequenceId: number;
  readonly side: 'sent' | 'received';
  /** F32[rows, width] of that sequence, row by row. */
  readonly payload: Uint8Array;
}

const sides = ['sent', 'received'] as const;
const headerBytes = 21;

/**
 * A full frame in one buffer; its payload is copied, because the next step overwrites it.
 * @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds.
 */
export function encodeWitnessed({ epoch, stepId, sequenceId, side, payload }: Witnessed): Uint8Array[] {
  integer(epoch, 0, u32Max, 'epoch');
  integer(stepId, 0, Number.MAX_SAFE_INTEGER, 'stepId');
  integer(sequenceId, 0, Number.MAX_SAFE_INTEGER, 'sequenceId');
  const writer = new ByteWriter(headerBytes);
  writer.u32(epoch);
  writer.u64(stepId);
  writer.u64(sequenceId);
  writer.u8(sides.indexOf(side));
  return encodeFrameWhole('witnessed', writer.bytes, payload);
}

/**
 * The payload stays a view of the frame, at any alignment; whether its size fits the rows is for the receiver to check.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeWitnessed(frame: Frame): Witnessed {
  if (frame.type !== 'witnessed')
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `A ${frame.type} frame arrived where a witnessed frame belongs.`,
    );
  const reader = new ByteReader(frame.header, 'witnessed');
  const ids = { epoch: reader.u32(), stepId: reader.u64(), sequenceId: reader.u64() };
  const side = sides[reader.u8()];
  reader.end();
  if (side === undefined)
    throw new ButterflyError('PROTOCOL_INVALID', 'A witnessed frame is of neither side of a cut.');
  return { ...ids, side, payload: frame.payload };
}
