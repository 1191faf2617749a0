import { ButterflyError, limits } from '@butterfly/common';
import type { ByteReader, ByteWriter } from './bytes.js';
import { checkTokens, integer, u32Max } from './checks.js';
import { poolings, type Pooling } from './pooling.js';
import {
  biasBytes,
  checkSampling,
  readBias,
  readSampling,
  samplingBytes,
  writeBias,
  writeSampling,
} from './sampling-codec.js';
import { checkConstraint, constraintBytes, readConstraint, writeConstraint } from './step-constraint.js';
import { wasteState } from './types.js';
import type { ScoredTokens, SequenceWindow, StepSequence } from './types.js';

/** What comes with a sequence, in the order in which it follows. */
const marks = {
  sampling: 1,
  state: 2,
  logprobs: 4,
  logitBias: 8,
  scored: 16,
  constraint: 32,
  window: 64,
  pooling: 128,
  isDecoded: 256,
} as const;
const marksMax = Object.values(marks).reduce((sum, mark) => sum + mark, 0);

const fixedBytes = 34;
const stateBytes = 8;
const windowBytes = 16;
const logprobsBytes = 1;
const scoredFixedBytes = 3;
const poolingBytes = 1;

export function sequenceBytes(sequence: StepSequence): number {
  const { sampling, state, window, logprobs, scored, draftTokens, recentTokens, constraint } = sequence;
  return (
    fixedBytes +
    (sampling === null ? 0 : samplingBytes(sampling)) +
    (state === null ? 0 : stateBytes) +
    (window === null ? 0 : windowBytes) +
    (constraint ? constraintBytes(constraint) : 0) +
    (logprobs === null ? 0 : logprobsBytes) +
    (sampling?.logitBias ? biasBytes(sampling.logitBias) : 0) +
    (scored === null ? 0 : scoredFixedBytes + scored.tokens.byteLength) +
    (sequence.pooling ? poolingBytes : 0) +
    draftTokens.byteLength +
    recentTokens.byteLength
  );
}

export function writeSequence(writer: ByteWriter, sequence: StepSequence): void {
  const { sampling, draftTokens, recentTokens, state, window, logprobs, scored, constraint } = sequence;
  const logitBias = sampling?.logitBias ?? null;
  writer.u64(sequence.sequenceId);
  writer.u32(sequence.regionStart);
  writer.u32(sequence.regionSlots);
  writer.u32(sequence.positionStart);
  writer.u32(sequence.rows);
  writer.u32(sequence.logitRows);
  writer.u16(draftTokens.length);
  writer.u16(recentTokens.length);
  writer.u16(
    (sampling === null ? 0 : marks.sampling) +
      (state === null ? 0 : marks.state) +
      (logprobs === null ? 0 : marks.logprobs) +
      (logitBias === null ? 0 : marks.logitBias) +
      (scored === null ? 0 : marks.scored) +
      (constraint ? marks.constraint : 0) +
      (window === null ? 0 : marks.window) +
      (sequence.pooling ? marks.pooling : 0) +
      (sequence.isDecoded ? marks.isDecoded : 0),
  );
  if (sampling !== null) writeSampling(writer, sampling);
  if (state !== null) writer.u32s([state.from, state.to]);
  if (window !== null) writer.u32s([window.from, window.fromFirst, window.to, window.toFirst]);
  if (logprobs !== null) writer.u8(logprobs);
  if (logitBias !== null) writeBias(writer, logitBias);
  if (scored !== null) writeScored(writer, scored);
  if (sequence.pooling) writer.u8(poolings.indexOf(sequence.pooling));
  writer.int32s(draftTokens);
  writer.int32s(recentTokens);
  if (constraint) writeConstraint(writer, constraint);
}

/** @throws ButterflyError PROTOCOL_INVALID for a layout that there is not; `checkSequence` checks the values. */
export function readSequence(reader: ByteReader): StepSequence {
  const fixed = {
    sequenceId: reader.u64(),
    regionStart: reader.u32(),
    regionSlots: reader.u32(),
    positionStart: reader.u32(),
    rows: reader.u32(),
    logitRows: reader.u32(),
  };
  const draftCount = reader.count(limits.draftTokensMax, 'draft tokens');
  const recentCount = reader.count(limits.recentTokensMax, 'recent tokens');
  const marked = reader.u16();
  if (marked > marksMax) throw reader.fail(`the marks of a sequence are ${marked}, over ${marksMax}`);
  const has = (mark: number): boolean => (marked & mark) !== 0;
  const params = has(marks.sampling) ? readSampling(reader) : null;
  const state = has(marks.state) ? { from: reader.u32(), to: reader.u32() } : null;
  const window = has(marks.window) ? readWindow(reader) : null;
  const logprobs = has(marks.logprobs) ? reader.u8() : null;
  if (has(marks.logitBias) && params === null) throw reader.fail('a bias comes without sampling');
  const logitBias = has(marks.logitBias) ? readBias(reader) : null;
  const scored = has(marks.scored) ? readScored(reader) : null;
  const pooling = has(marks.pooling) ? readPooling(reader) : null;
  const sampling = params && { ...params, logitBias };
  const draftTokens = reader.int32s(draftCount);
  const recentTokens = reader.int32s(recentCount);
  const constraint = has(marks.constraint) ? readConstraint(reader) : null;
  return {
    ...fixed,
    sampling,
    draftTokens,
    recentTokens,
    state,
    window,
    logprobs,
    scored,
    ...(constraint && { constraint }),
    ...(pooling && { pooling }),
    ...(has(marks.isDecoded) && { isDecoded: true }),
  };
}

function readPooling(reader: ByteReader): Pooling {
  const code = reader.u8();
  const pooling = poolings[code];
  if (pooling === undefined) throw reader.fail(`the pooling of a sequence is ${code}`);
  return pooling;
}

function readWindow(reader: ByteReader): SequenceWindow {
  return { from: reader.u32(), fromFirst: reader.u32(), to: reader.u32(), toFirst: reader.u32() };
}

function writeScored(writer: ByteWriter, { alternatives, tokens }: ScoredTokens): void {
  writer.u8(alternatives);
  writer.u16(tokens.length);
  writer.int32s(tokens);
}

function readScored(reader: ByteReader): ScoredTokens {
  const alternatives = reader.u8();
  return { alternatives, tokens: reader.int32s(reader.count(limits.scoredRowsMax, 'scored tokens')) };
}

/** @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds, or two contradict each other. */
export function checkSequence(sequence: StepSequence): void {
  const { regionStart, regionSlots, positionStart, rows, logitRows, draftTokens, sampling, state } = sequence;
  integer(sequence.sequenceId, 0, Number.MAX_SAFE_INTEGER, 'sequenceId');
  integer(rows, 1, limits.stepRowsMax, 'rows');
  checkTokens(draftTokens, 0, limits.draftTokensMax, 'draftTokens');
  if (sampling === null) integer(draftTokens.length, 0, 0, 'number of draftTokens');
  if (sequence.pooling) checkPooled(sequence);
  else checkLogits(sequence);
  if (sequence.isDecoded) checkDecoded(sequence);
  integer(rows, logitRows, limits.stepRowsMax, 'rows');
  integer(positionStart, 0, u32Max - rows, 'positionStart');
  integer(regionSlots, positionStart + rows, u32Max, 'regionSlots');
  integer(regionStart, 0, u32Max - regionSlots, 'regionStart');
  checkTokens(sequence.recentTokens, 0, limits.recentTokensMax, 'recentTokens');
  if (state !== null) {
    integer(state.from, 0, u32Max, 'state to read');
    integer(state.to, wasteState, u32Max, 'state to write');
  }
  if (sequence.window !== null) checkWindow(sequence.window, positionStart);
  if (sampling !== null) checkSampling(sampling);
  const { constraint } = sequence;
  if (!constraint) return;
  checkConstraint(constraint, positionStart + rows - draftTokens.length);
  if (sampling === null)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      'A frame has a constraint on a sequence that is not sampled.',
    );
}

/** What was decoded is neither pooled nor scored, and another token follows. */
function checkDecoded({ sampling, scored }: StepSequence): void {
  if (sampling === null || scored !== null)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      'A sequence has decoded rows and is not sampled, or is scored as well.',
    );
}

function checkWindow({ from, fromFirst, to, toFirst }: SequenceWindow, positionStart: number): void {
  integer(from, 0, u32Max, 'room to read');
  integer(to, 0, u32Max, 'room to write');
  integer(toFirst, 0, positionStart, 'first position of a room');
  integer(fromFirst, 0, toFirst, 'first position of a room before');
}

/** What an embedding is made of are all rows, and nothing else can be made of them. */
function checkPooled({ rows, logitRows, sampling, scored, logprobs }: StepSequence): void {
  integer(logitRows, rows, rows, 'logitRows of an embedding');
  if (sampling !== null || scored !== null || logprobs !== null)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      'A sequence wants tokens or scores and an embedding at once.',
    );
}

/** Rows that are neither scored nor sampled may have logits as well, as long as nothing else of the sequence has. */
function checkLogits({ rows, logitRows, sampling, draftTokens, scored, logprobs }: StepSequence): void {
  const sampledRows = sampling === null ? 0 : draftTokens.length + 1;
  if (scored !== null) {
    integer(scored.alternatives, 0, limits.logprobsMax, 'alternatives of scored tokens');
    checkTokens(scored.tokens, 1, limits.scoredRowsMax, 'scored tokens');
  }
  const wanted = sampledRows + (scored?.tokens.length ?? 0);
  integer(logitRows, wanted, wanted === 0 ? rows : wanted, 'logitRows');
  if (logprobs === null) return;
  integer(logprobs, 0, limits.logprobsMax, 'logprobs');
  integer(sampledRows, 1, limits.stepRowsMax, 'sampled rows with logprobs');
}
