import { ButterflyError, limits } from '@butterfly/common';
import { ByteReader, ByteWriter } from './bytes.js';
import { integer, u32Max } from './checks.js';
import { encodeFrame } from './frame.js';
import type { Frame, FrameType } from './frame.js';
import { checkOutputs, outputBytes, packVectors, readOutput, writeOutput } from './result-codec.js';
import { checkSequence, readSequence, sequenceBytes, writeSequence } from './sequence-codec.js';
import type { ArenaCopy, FileChunk, StageTime, Step, StepOutput, StepResult, StepSequence } from './types.js';

/** One entry for each stage, and a worker holds one stage. */
const stagesMax = limits.workersMax;
const sha256Bytes = 32;

const stepFixedBytes = 18;
const copyBytes = 12;
const stageTimeBytes = 8;
const resultFixedBytes = 16;

/**
 * A full frame; its payload is not copied. Fractions of microseconds are rounded.
 * @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds.
 */
export function encodeStep(step: Step): Uint8Array[] {
  checkStep(step);
  const { copies, sequences, stageTimes } = step;
  let headerBytes = stepFixedBytes + copies.length * copyBytes + stageTimes.length * stageTimeBytes;
  for (const sequence of sequences) headerBytes += sequenceBytes(sequence);
  const writer = new ByteWriter(headerBytes);
  writer.u32(step.epoch);
  writer.u64(step.stepId);
  writer.u16(copies.length);
  writer.u16(stageTimes.length);
  writer.u16(sequences.length);
  for (const { fromSlot, toSlot, slots } of copies) writer.u32s([fromSlot, toSlot, slots]);
  writeStageTimes(writer, stageTimes);
  for (const sequence of sequences) writeSequence(writer, sequence);
  return encodeFrame({ type: 'step', header: writer.bytes, payload: step.payload });
}

/**
 * The payload stays a view of the frame, at any alignment; whether its size fits the rows is for the stage to check.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeStep(frame: Frame): Step {
  const reader = open(frame, 'step');
  const epoch = reader.u32();
  const stepId = reader.u64();
  const copyCount = reader.count(limits.stepCopiesMax, 'copies');
  const stageCount = reader.count(stagesMax, 'stage times');
  const sequenceCount = reader.count(limits.stepSequencesMax, 'sequences');
  const copies: ArenaCopy[] = [];
  for (let index = 0; index < copyCount; index++)
    copies.push({ fromSlot: reader.u32(), toSlot: reader.u32(), slots: reader.u32() });
  const stageTimes = readStageTimes(reader, stageCount);
  const sequences: StepSequence[] = [];
  for (let index = 0; index < sequenceCount; index++) sequences.push(readSequence(reader));
  reader.end();
  const step = { epoch, stepId, copies, sequences, stageTimes, payload: frame.payload };
  checkStep(step);
  return step;
}

/** @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds. */
export function encodeStepResult(result: StepResult): Uint8Array[] {
  checkResult(result);
  const { outputs, stageTimes } = result;
  let headerBytes = resultFixedBytes + stageTimes.length * stageTimeBytes;
  for (const output of outputs) headerBytes += outputBytes(output);
  const writer = new ByteWriter(headerBytes);
  writer.u32(result.epoch);
  writer.u64(result.stepId);
  writer.u16(stageTimes.length);
  writer.u16(outputs.length);
  writeStageTimes(writer, stageTimes);
  for (const output of outputs) writeOutput(writer, output);
  return encodeFrame({ type: 'result', header: writer.bytes, payload: packVectors(outputs) });
}

/** @throws ButterflyError PROTOCOL_INVALID */
export function decodeStepResult(frame: Frame): StepResult {
  const reader = open(frame, 'result');
  const epoch = reader.u32();
  const stepId = reader.u64();
  const stageCount = reader.count(stagesMax, 'stage times');
  const outputCount = reader.count(limits.stepSequencesMax, 'outputs');
  const stageTimes = readStageTimes(reader, stageCount);
  const outputs: StepOutput[] = [];
  const vectors = new ByteReader(frame.payload, 'result');
  for (let index = 0; index < outputCount; index++) outputs.push(readOutput(reader, vectors));
  reader.end();
  vectors.end();
  const result = { epoch, stepId, outputs, stageTimes };
  checkResult(result);
  return result;
}

/**
 * The bytes are not copied.
 * @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds.
 */
export function encodeFileChunk(chunk: FileChunk): Uint8Array[] {
  checkChunk(chunk);
  const writer = new ByteWriter(4 + sha256Bytes);
  writer.u32(chunk.requestId);
  writer.put(chunk.sha256);
  return encodeFrame({ type: 'fileChunk', header: writer.bytes, payload: chunk.bytes });
}

/**
 * The bytes stay a view of the frame; whether they match their hash is for the receiver to check.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeFileChunk(frame: Frame): FileChunk {
  const reader = open(frame, 'fileChunk');
  const chunk = { requestId: reader.u32(), sha256: reader.bytes(sha256Bytes), bytes: frame.payload };
  reader.end();
  checkChunk(chunk);
  return chunk;
}

function writeStageTimes(writer: ByteWriter, stageTimes: readonly StageTime[]): void {
  writer.u32s(
    stageTimes.flatMap(({ computeMicros, hostMicros }) => [
      Math.round(computeMicros),
      Math.round(hostMicros),
    ]),
  );
}

function readStageTimes(reader: ByteReader, count: number): StageTime[] {
  return Array.from({ length: count }, () => ({ computeMicros: reader.u32(), hostMicros: reader.u32() }));
}

function open(frame: Frame, type: FrameType): ByteReader {
  if (frame.type !== type)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `A ${frame.type} frame arrived where a ${type} frame belongs.`,
    );
  return new ByteReader(frame.header, type);
}

function checkIds(epoch: number, stepId: number, stageTimes: readonly StageTime[]): void {
  integer(epoch, 0, u32Max, 'epoch');
  integer(stepId, 0, Number.MAX_SAFE_INTEGER, 'stepId');
  integer(stageTimes.length, 0, stagesMax, 'number of stageTimes');
  for (const { computeMicros, hostMicros } of stageTimes) {
    integer(Math.round(computeMicros), 0, u32Max, 'computeMicros');
    integer(Math.round(hostMicros), 0, u32Max, 'hostMicros');
  }
}

function checkStep(step: Step): void {
  checkIds(step.epoch, step.stepId, step.stageTimes);
  integer(step.copies.length, 0, limits.stepCopiesMax, 'number of copies');
  for (const { fromSlot, toSlot, slots } of step.copies) {
    integer(slots, 1, u32Max, 'slots of a copy');
    integer(fromSlot, 0, u32Max - slots, 'fromSlot');
    integer(toSlot, 0, u32Max - slots, 'toSlot');
  }
  integer(step.sequences.length, 0, limits.stepSequencesMax, 'number of sequences');
  let rows = 0;
  let scored = 0;
  for (const sequence of step.sequences) {
    checkSequence(sequence);
    rows += sequence.rows;
    scored += sequence.scored?.tokens.length ?? 0;
  }
  integer(rows, 0, limits.stepRowsMax, 'rows of a step');
  integer(scored, 0, limits.scoredRowsMax, 'scored rows of a step');
}

function checkResult(result: StepResult): void {
  checkIds(result.epoch, result.stepId, result.stageTimes);
  checkOutputs(result.outputs);
}

function checkChunk(chunk: FileChunk): void {
  integer(chunk.requestId, 0, u32Max, 'requestId');
  integer(chunk.bytes.length, 1, limits.fileChunkBytesMax, 'bytes of a file chunk');
  integer(chunk.sha256.length, sha256Bytes, sha256Bytes, 'bytes of a SHA-256');
}
