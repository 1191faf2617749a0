import { ButterflyError, limits } from '@butterfly/common';
import { ByteReader, ByteWriter } from './bytes.js';
import { encodeFrame } from './frame.js';
import type { Frame, FrameType } from './frame.js';
import { poolings, type Pooling } from './pooling.js';
import { wasteState } from './types.js';
import type {
  ArenaCopy,
  FileChunk,
  SamplingParams,
  StageTime,
  Step,
  StepOutput,
  StepResult,
  StepSequence,
} from './types.js';

/** One entry for each stage, and a worker holds one stage. */
const stagesMax = limits.workersMax;
/** The longest window that any penalty looks back on. */
const recentTokensMax = 1024;
/** What comes with a sequence. */
const marks = { sampling: 1, state: 2, pooling: 4 } as const;
const marksMax = 7;
const u32Max = 0xffff_ffff;
const int32Max = 0x7fff_ffff;
const sha256Bytes = 32;

const stepFixedBytes = 18;
const copyBytes = 12;
const stageTimeBytes = 8;
const sequenceFixedBytes = 33;
const samplingBytes = 56;
const stateBytes = 8;
const poolingBytes = 1;
const resultFixedBytes = 16;
const outputFixedBytes = 14;
const noBytes = new Uint8Array(0);

/**
 * A full frame; its payload is not copied. Fractions of microseconds are rounded.
 * @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds.
 */
export function encodeStep(step: Step): Uint8Array[] {
  checkStep(step);
  const { copies, sequences, stageTimes } = step;
  let headerBytes = stepFixedBytes + copies.length * copyBytes + stageTimes.length * stageTimeBytes;
  for (const { sampling, draftTokens, recentTokens, state, pooling = null } of sequences)
    headerBytes +=
      sequenceFixedBytes +
      (sampling === null ? 0 : samplingBytes) +
      (state === null ? 0 : stateBytes) +
      (pooling === null ? 0 : poolingBytes) +
      draftTokens.byteLength +
      recentTokens.byteLength;
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
  for (const { tokens } of outputs) headerBytes += outputFixedBytes + tokens.byteLength;
  const writer = new ByteWriter(headerBytes);
  writer.u32(result.epoch);
  writer.u64(result.stepId);
  writer.u16(stageTimes.length);
  writer.u16(outputs.length);
  writeStageTimes(writer, stageTimes);
  for (const { sequenceId, tokens, vector } of outputs) {
    writer.u64(sequenceId);
    writer.u16(tokens.length);
    writer.u32(vector?.length ?? 0);
    writer.int32s(tokens);
  }
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
  for (let index = 0; index < outputCount; index++) {
    const sequenceId = reader.u64();
    const tokenCount = reader.count(limits.stepRowsMax, 'tokens');
    const numbers = reader.u32();
    if (numbers > limits.embeddingNumbersMax)
      throw reader.fail(
        `an embedding of ${numbers} numbers, at most ${limits.embeddingNumbersMax} are allowed`,
      );
    const tokens = reader.int32s(tokenCount);
    outputs.push(
      numbers === 0 ? { sequenceId, tokens } : { sequenceId, tokens, vector: vectors.floats(numbers) },
    );
  }
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

function writeSequence(writer: ByteWriter, sequence: StepSequence): void {
  const { sampling, draftTokens, recentTokens, state, pooling = null } = sequence;
  writer.u64(sequence.sequenceId);
  writer.u32(sequence.regionStart);
  writer.u32(sequence.regionSlots);
  writer.u32(sequence.positionStart);
  writer.u32(sequence.rows);
  writer.u32(sequence.logitRows);
  writer.u16(draftTokens.length);
  writer.u16(recentTokens.length);
  writer.u8(
    (sampling === null ? 0 : marks.sampling) +
      (state === null ? 0 : marks.state) +
      (pooling === null ? 0 : marks.pooling),
  );
  if (sampling !== null) writeSampling(writer, sampling);
  if (state !== null) writer.u32s([state.from, state.to]);
  if (pooling !== null) writer.u8(poolings.indexOf(pooling));
  writer.int32s(draftTokens);
  writer.int32s(recentTokens);
}

function readSequence(reader: ByteReader): StepSequence {
  const fixed = {
    sequenceId: reader.u64(),
    regionStart: reader.u32(),
    regionSlots: reader.u32(),
    positionStart: reader.u32(),
    rows: reader.u32(),
    logitRows: reader.u32(),
  };
  const draftCount = reader.count(limits.draftTokensMax, 'draft tokens');
  const recentCount = reader.count(recentTokensMax, 'recent tokens');
  const marked = reader.u8();
  if (marked > marksMax) throw reader.fail(`the marks of a sequence are ${marked}, over ${marksMax}`);
  const sampling = marked & marks.sampling ? readSampling(reader) : null;
  const state = marked & marks.state ? { from: reader.u32(), to: reader.u32() } : null;
  const pooling = marked & marks.pooling ? readPooling(reader) : null;
  const draftTokens = reader.int32s(draftCount);
  const recentTokens = reader.int32s(recentCount);
  const sequence = { ...fixed, sampling, draftTokens, recentTokens, state };
  return pooling === null ? sequence : { ...sequence, pooling };
}

function readPooling(reader: ByteReader): Pooling {
  const code = reader.u8();
  const pooling = poolings[code];
  if (pooling === undefined) throw reader.fail(`the pooling of a sequence is ${code}`);
  return pooling;
}

/** The vectors of all outputs, one after the other. */
function packVectors(outputs: StepResult['outputs']): Uint8Array {
  const numbers = outputs.reduce((sum, { vector }) => sum + (vector?.length ?? 0), 0);
  if (numbers === 0) return noBytes;
  const packed = new Float32Array(numbers);
  let offset = 0;
  for (const { vector } of outputs) {
    if (!vector) continue;
    packed.set(vector, offset);
    offset += vector.length;
  }
  return new Uint8Array(packed.buffer);
}

function writeSampling(writer: ByteWriter, sampling: SamplingParams): void {
  // 64 bits, so that a value is the same on the far side to the last bit.
  writer.f64(sampling.temperature);
  writer.f64(sampling.topP);
  writer.f64(sampling.minP);
  writer.f64(sampling.repeatPenalty);
  writer.f64(sampling.frequencyPenalty);
  writer.f64(sampling.presencePenalty);
  writer.u32(sampling.topK);
  writer.u32(sampling.seed);
}

function readSampling(reader: ByteReader): SamplingParams {
  return {
    temperature: reader.f64(),
    topP: reader.f64(),
    minP: reader.f64(),
    repeatPenalty: reader.f64(),
    frequencyPenalty: reader.f64(),
    presencePenalty: reader.f64(),
    topK: reader.u32(),
    seed: reader.u32(),
  };
}

/** Both directions check the same rules, so that a bad value fails at its source and not on the peer. */
function within(value: number, min: number, max: number, name: string): void {
  if (value >= min && value <= max) return;
  throw new ButterflyError(
    'PROTOCOL_INVALID',
    `A frame has ${name} ${value}, which is not in ${min} to ${max}.`,
  );
}

function integer(value: number, min: number, max: number, name: string): void {
  within(value, min, max, name);
  if (!Number.isInteger(value))
    throw new ButterflyError('PROTOCOL_INVALID', `A frame has ${name} ${value}, which is no integer.`);
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

function checkTokens(tokens: Int32Array, min: number, max: number, name: string): void {
  integer(tokens.length, min, max, `number of ${name}`);
  for (const token of tokens) within(token, 0, int32Max, name);
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
  for (const sequence of step.sequences) {
    checkSequence(sequence);
    rows += sequence.rows;
  }
  integer(rows, 0, limits.stepRowsMax, 'rows of a step');
}

function checkSequence(sequence: StepSequence): void {
  const { regionStart, regionSlots, positionStart, rows, logitRows, draftTokens, sampling } = sequence;
  integer(sequence.sequenceId, 0, Number.MAX_SAFE_INTEGER, 'sequenceId');
  integer(rows, 1, limits.stepRowsMax, 'rows');
  checkTokens(draftTokens, 0, limits.draftTokensMax, 'draftTokens');
  if (sampling === null) integer(draftTokens.length, 0, 0, 'number of draftTokens');
  if (sequence.pooling) {
    integer(logitRows, rows, rows, 'logitRows of an embedding');
    if (sampling !== null)
      throw new ButterflyError('PROTOCOL_INVALID', 'A sequence wants a token and an embedding at once.');
  }
  const sampledRows = draftTokens.length + 1;
  integer(
    logitRows,
    sampling === null ? 0 : sampledRows,
    sampling === null ? rows : sampledRows,
    'logitRows',
  );
  integer(rows, logitRows, limits.stepRowsMax, 'rows');
  integer(positionStart, 0, u32Max - rows, 'positionStart');
  integer(regionSlots, positionStart + rows, u32Max, 'regionSlots');
  integer(regionStart, 0, u32Max - regionSlots, 'regionStart');
  checkTokens(sequence.recentTokens, 0, recentTokensMax, 'recentTokens');
  if (sequence.state !== null) {
    integer(sequence.state.from, 0, u32Max, 'state to read');
    integer(sequence.state.to, wasteState, u32Max, 'state to write');
  }
  if (sampling !== null) checkSampling(sampling);
}

function checkSampling(sampling: SamplingParams): void {
  within(sampling.temperature, 0, Number.MAX_VALUE, 'temperature');
  within(sampling.topP, 0, 1, 'topP');
  within(sampling.minP, 0, 1, 'minP');
  within(sampling.repeatPenalty, Number.MIN_VALUE, Number.MAX_VALUE, 'repeatPenalty');
  within(sampling.frequencyPenalty, -Number.MAX_VALUE, Number.MAX_VALUE, 'frequencyPenalty');
  within(sampling.presencePenalty, -Number.MAX_VALUE, Number.MAX_VALUE, 'presencePenalty');
  integer(sampling.topK, 0, u32Max, 'topK');
  integer(sampling.seed, 0, u32Max, 'seed');
}

function checkResult(result: StepResult): void {
  checkIds(result.epoch, result.stepId, result.stageTimes);
  integer(result.outputs.length, 0, limits.stepSequencesMax, 'number of outputs');
  let tokenCount = 0;
  for (const { sequenceId, tokens, vector } of result.outputs) {
    integer(sequenceId, 0, Number.MAX_SAFE_INTEGER, 'sequenceId');
    if (vector) {
      integer(vector.length, 1, limits.embeddingNumbersMax, 'numbers of an embedding');
      integer(tokens.length, 0, 0, 'tokens beside an embedding');
    }
    checkTokens(tokens, 0, limits.stepRowsMax, 'tokens of an output');
    tokenCount += tokens.length;
  }
  integer(tokenCount, 0, limits.stepRowsMax, 'tokens of a result');
}

function checkChunk(chunk: FileChunk): void {
  integer(chunk.requestId, 0, u32Max, 'requestId');
  integer(chunk.bytes.length, 1, limits.fileChunkBytesMax, 'bytes of a file chunk');
  integer(chunk.sha256.length, sha256Bytes, sha256Bytes, 'bytes of a SHA-256');
}
