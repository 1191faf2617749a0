import { limits } from '@butterfly/common';
import type { ByteReader, ByteWriter } from './bytes.js';
import { checkTokens, integer, u32Max, within } from './checks.js';
import type { DrySampling, LogitBias, SamplingParams } from './types.js';

const fixedBytes = 83;
const dryFixedBytes = 22;
const biasFixedBytes = 2;
/** One for each token that is looked at, and those of several tokens, each of which has two at least. */
const breakersMax =
  limits.recentTokensMax + limits.draftTokensMax + Math.floor(limits.dryLongBreakerTokensMax / 2);

/** Of all but the bias, which stands apart. */
export function samplingBytes({ dry }: SamplingParams): number {
  if (dry === null) return fixedBytes;
  return dry.breakers.reduce((sum, { byteLength }) => sum + 1 + byteLength, fixedBytes + dryFixedBytes);
}

/** 64 bits for numbers, so that a value is the same on the far side to the last bit. */
export function writeSampling(writer: ByteWriter, sampling: SamplingParams): void {
  writer.f64(sampling.temperature);
  writer.f64(sampling.topP);
  writer.f64(sampling.minP);
  writer.f64(sampling.typicalP);
  writer.f64(sampling.xtcProbability);
  writer.f64(sampling.xtcThreshold);
  writer.f64(sampling.repeatPenalty);
  writer.f64(sampling.frequencyPenalty);
  writer.f64(sampling.presencePenalty);
  writer.u32(sampling.topK);
  writer.u32(sampling.seed);
  writer.u16(sampling.penaltyLastN);
  writer.u8(sampling.dry === null ? 0 : 1);
  if (sampling.dry !== null) writeDry(writer, sampling.dry);
}

/** The bias comes from elsewhere. */
export function readSampling(reader: ByteReader): Omit<SamplingParams, 'logitBias'> {
  const numbers = {
    temperature: reader.f64(),
    topP: reader.f64(),
    minP: reader.f64(),
    typicalP: reader.f64(),
    xtcProbability: reader.f64(),
    xtcThreshold: reader.f64(),
    repeatPenalty: reader.f64(),
    frequencyPenalty: reader.f64(),
    presencePenalty: reader.f64(),
    topK: reader.u32(),
    seed: reader.u32(),
    penaltyLastN: reader.u16(),
  };
  const dryMark = reader.u8();
  if (dryMark > 1) throw reader.fail(`the mark of DRY is ${dryMark}, over 1`);
  return { ...numbers, dry: dryMark === 1 ? readDry(reader) : null };
}

function writeDry(writer: ByteWriter, dry: DrySampling): void {
  writer.f64(dry.multiplier);
  writer.f64(dry.base);
  writer.u16(dry.allowedLength);
  writer.u16(dry.lastN);
  writer.u16(dry.breakers.length);
  for (const breaker of dry.breakers) {
    writer.u8(breaker.length);
    writer.int32s(breaker);
  }
}

function readDry(reader: ByteReader): DrySampling {
  const numbers = {
    multiplier: reader.f64(),
    base: reader.f64(),
    allowedLength: reader.u16(),
    lastN: reader.u16(),
  };
  const count = reader.count(breakersMax, 'breakers');
  const breakers: Int32Array[] = [];
  for (let index = 0; index < count; index++) breakers.push(reader.int32s(reader.u8()));
  return { ...numbers, breakers };
}

export function biasBytes({ tokens }: LogitBias): number {
  return biasFixedBytes + 2 * tokens.byteLength;
}

export function writeBias(writer: ByteWriter, { tokens, values }: LogitBias): void {
  writer.u16(tokens.length);
  writer.int32s(tokens);
  writer.float32s(values);
}

export function readBias(reader: ByteReader): LogitBias {
  const count = reader.count(limits.logitBiasTokensMax, 'biased tokens');
  return { tokens: reader.int32s(count), values: reader.float32s(count) };
}

/** @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds. */
export function checkSampling(sampling: SamplingParams): void {
  within(sampling.temperature, 0, Number.MAX_VALUE, 'temperature');
  within(sampling.topP, 0, 1, 'topP');
  within(sampling.minP, 0, 1, 'minP');
  within(sampling.typicalP, 0, 1, 'typicalP');
  within(sampling.xtcProbability, 0, 1, 'xtcProbability');
  within(sampling.xtcThreshold, 0, 1, 'xtcThreshold');
  within(sampling.repeatPenalty, Number.MIN_VALUE, Number.MAX_VALUE, 'repeatPenalty');
  within(sampling.frequencyPenalty, -Number.MAX_VALUE, Number.MAX_VALUE, 'frequencyPenalty');
  within(sampling.presencePenalty, -Number.MAX_VALUE, Number.MAX_VALUE, 'presencePenalty');
  integer(sampling.topK, 0, u32Max, 'topK');
  integer(sampling.seed, 0, u32Max, 'seed');
  integer(sampling.penaltyLastN, 0, limits.recentTokensMax, 'penaltyLastN');
  if (sampling.dry !== null) checkDry(sampling.dry);
  if (sampling.logitBias !== null) checkBias(sampling.logitBias);
}

function checkDry({ multiplier, base, allowedLength, lastN, breakers }: DrySampling): void {
  within(multiplier, Number.MIN_VALUE, Number.MAX_VALUE, 'DRY multiplier');
  within(base, 1, Number.MAX_VALUE, 'DRY base');
  integer(allowedLength, 0, limits.recentTokensMax, 'DRY allowedLength');
  integer(lastN, 1, limits.recentTokensMax, 'DRY lastN');
  integer(breakers.length, 0, breakersMax, 'number of breakers');
  let longTokens = 0;
  for (const breaker of breakers) {
    checkTokens(breaker, 1, limits.dryBreakerTokensMax, 'tokens of a breaker');
    if (breaker.length > 1) longTokens += breaker.length;
  }
  integer(longTokens, 0, limits.dryLongBreakerTokensMax, 'tokens of long breakers');
}

function checkBias({ tokens, values }: LogitBias): void {
  checkTokens(tokens, 1, limits.logitBiasTokensMax, 'biased tokens');
  integer(values.length, tokens.length, tokens.length, 'number of biases');
  for (const value of values) within(value, -limits.logitBiasMax, limits.logitBiasMax, 'logit bias');
}
