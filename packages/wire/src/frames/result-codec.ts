import { limits } from '@butterfly/common';
import type { ByteReader, ByteWriter } from './bytes.js';
import { checkTokens, integer, within } from './checks.js';
import type { Logprobs, StepOutput } from './types.js';

/** What comes with an output. */
const marks = { logprobs: 4, guesses: 8, scored: 16, vector: 128 } as const;

const fixedBytes = 11;
const logprobsFixedBytes = 1;
const scoredCountBytes = 2;
const guessCountBytes = 1;
const numbersBytes = 4;
const noBytes = new Uint8Array(0);

export function outputBytes({ tokens, logprobs, scored, vector, guesses }: StepOutput): number {
  return (
    fixedBytes +
    tokens.byteLength +
    (logprobs ? logprobsBytes(logprobs) : 0) +
    (scored ? scoredCountBytes + logprobsBytes(scored) : 0) +
    (vector ? numbersBytes : 0) +
    (guesses ? guessCountBytes + guesses.byteLength : 0)
  );
}

function logprobsBytes({ chosen, topTokens, topValues }: Logprobs): number {
  return logprobsFixedBytes + chosen.byteLength + topTokens.byteLength + topValues.byteLength;
}

/** Of an embedding the header says how many numbers it has; they are in the payload, see `packVectors`. */
export function writeOutput(writer: ByteWriter, output: StepOutput): void {
  const { sequenceId, tokens, logprobs, scored, vector, guesses } = output;
  writer.u64(sequenceId);
  writer.u16(tokens.length);
  writer.u8(
    (logprobs ? marks.logprobs : 0) +
      (guesses ? marks.guesses : 0) +
      (scored ? marks.scored : 0) +
      (vector ? marks.vector : 0),
  );
  writer.int32s(tokens);
  if (logprobs) writeLogprobs(writer, logprobs);
  if (scored) {
    writer.u16(scored.chosen.length);
    writeLogprobs(writer, scored);
  }
  if (vector) writer.u32(vector.length);
  if (!guesses) return;
  writer.u8(guesses.length);
  writer.int32s(guesses);
}

/** The payload of a result: the embeddings of all outputs, one after the other. */
export function packVectors(outputs: readonly StepOutput[]): Uint8Array {
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

/**
 * @param vectors the payload, from where the numbers of this output begin
 * @throws ButterflyError PROTOCOL_INVALID for a layout that there is not; `checkOutputs` checks the values.
 */
export function readOutput(reader: ByteReader, vectors: ByteReader): StepOutput {
  const sequenceId = reader.u64();
  const count = reader.count(limits.stepRowsMax, 'tokens');
  const marked = reader.u8();
  if ((marked & ~(marks.logprobs | marks.guesses | marks.scored | marks.vector)) !== 0)
    throw reader.fail(`the marks of an output are ${marked}, other than 4, 8, 16 and 128`);
  const tokens = reader.int32s(count);
  const logprobs = marked & marks.logprobs ? readLogprobs(reader, count) : null;
  const scored =
    marked & marks.scored ? readLogprobs(reader, reader.count(limits.scoredRowsMax, 'scored tokens')) : null;
  const vector = marked & marks.vector ? readVector(reader, vectors) : null;
  const guesses = marked & marks.guesses ? reader.int32s(reader.u8()) : null;
  return {
    sequenceId,
    tokens,
    ...(logprobs && { logprobs }),
    ...(scored && { scored }),
    ...(vector && { vector }),
    ...(guesses && { guesses }),
  };
}

function readVector(reader: ByteReader, vectors: ByteReader): Float32Array {
  const numbers = reader.u32();
  if (numbers > limits.embeddingNumbersMax)
    throw reader.fail(
      `an embedding of ${numbers} numbers, at most ${limits.embeddingNumbersMax} are allowed`,
    );
  return vectors.float32s(numbers);
}

function writeLogprobs(writer: ByteWriter, { alternatives, chosen, topTokens, topValues }: Logprobs): void {
  writer.u8(alternatives);
  writer.float32s(chosen);
  writer.int32s(topTokens);
  writer.float32s(topValues);
}

function readLogprobs(reader: ByteReader, count: number): Logprobs {
  const alternatives = reader.u8();
  return {
    alternatives,
    chosen: reader.float32s(count),
    topTokens: reader.int32s(count * alternatives),
    topValues: reader.float32s(count * alternatives),
  };
}

/** @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds. */
export function checkOutputs(outputs: readonly StepOutput[]): void {
  integer(outputs.length, 0, limits.stepSequencesMax, 'number of outputs');
  let tokenCount = 0;
  let scoredCount = 0;
  for (const { sequenceId, tokens, logprobs, scored, vector, guesses } of outputs) {
    integer(sequenceId, 0, Number.MAX_SAFE_INTEGER, 'sequenceId');
    if (vector) {
      integer(vector.length, 1, limits.embeddingNumbersMax, 'numbers of an embedding');
      integer(tokens.length + (scored?.chosen.length ?? 0), 0, 0, 'tokens beside an embedding');
    }
    checkTokens(tokens, 0, limits.stepRowsMax, 'tokens of an output');
    tokenCount += tokens.length;
    if (guesses) {
      checkTokens(guesses, 1, limits.draftTokensMax, 'guesses of an output');
      integer(tokens.length, 1, limits.stepRowsMax, 'tokens before guesses');
    }
    if (logprobs) checkLogprobs(logprobs, tokens.length);
    if (!scored) continue;
    integer(scored.chosen.length, 1, limits.scoredRowsMax, 'number of scored tokens');
    checkLogprobs(scored, scored.chosen.length);
    scoredCount += scored.chosen.length;
  }
  integer(tokenCount, 0, limits.stepRowsMax, 'tokens of a result');
  integer(scoredCount, 0, limits.scoredRowsMax, 'scored tokens of a result');
}

function checkLogprobs({ alternatives, chosen, topTokens, topValues }: Logprobs, count: number): void {
  integer(alternatives, 0, limits.logprobsMax, 'alternatives');
  integer(chosen.length, count, count, 'number of log probabilities');
  const top = count * alternatives;
  checkTokens(topTokens, top, top, 'likeliest tokens');
  integer(topValues.length, top, top, 'number of their log probabilities');
  for (const values of [chosen, topValues])
    // A token that the model rules out has minus infinity.
    for (const value of values) within(value, -Infinity, 0, 'log probability');
}
