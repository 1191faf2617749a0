import { randomInt } from 'node:crypto';
import type { DrySpec } from '@butterfly/generation';
import { greedySampling, type LogitBias, type SamplingParams } from '@butterfly/wire';
import type { z } from 'zod';
import type { ShapeOf } from '../fields/field-kinds.js';
import { topKMax } from '../fields/values.js';
import type { sharedFields } from './fields.js';

/** What says how tokens are drawn. */
type SamplingFields = Partial<
  Pick<
    z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>,
    | 'temperature'
    | 'top_k'
    | 'top_p'
    | 'min_p'
    | 'repeat_penalty'
    | 'frequency_penalty'
    | 'presence_penalty'
    | 'seed'
    | 'typical_p'
    | 'xtc_probability'
    | 'xtc_threshold'
    | 'repeat_last_n'
    | 'logit_bias'
  >
>;

/** How the fields that all endpoints share have tokens drawn. */
export function samplingOf(fields: SamplingFields): SamplingParams {
  return {
    ...greedySampling,
    temperature: fields.temperature ?? 1,
    topK: Math.min(Math.max(fields.top_k ?? 0, 0), topKMax),
    topP: fields.top_p ?? 1,
    minP: fields.min_p ?? 0,
    repeatPenalty: fields.repeat_penalty ?? 1,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    presencePenalty: fields.presence_penalty ?? 0,
    typicalP: fields.typical_p ?? 1,
    xtcProbability: fields.xtc_probability ?? 0,
    xtcThreshold: fields.xtc_threshold ?? 0.1,
    penaltyLastN: fields.repeat_last_n ?? 64,
    logitBias: logitBiasOf(fields.logit_bias),
    seed: fields.seed == null ? randomInt(2 ** 32) : seedOf(fields.seed),
  };
}

type DryFields = Partial<
  Pick<
    z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>,
    'dry_multiplier' | 'dry_base' | 'dry_allowed_length' | 'dry_penalty_last_n' | 'dry_sequence_breakers'
  >
>;

/** llama.cpp's defaults. */
const dryBreakersUsual: readonly string[] = ['\n', ':', '"', '*'];

/** How the fields that all endpoints share keep repetitions away; null where they do not. */
export function dryOf(fields: DryFields): DrySpec | null {
  const { dry_multiplier: multiplier, dry_penalty_last_n: lastN } = fields;
  if (multiplier == null || multiplier === 0 || lastN === 0) return null;
  return {
    multiplier,
    base: fields.dry_base ?? 1.75,
    allowedLength: fields.dry_allowed_length ?? 2,
    lastN: lastN ?? 64,
    breakers: fields.dry_sequence_breakers ?? dryBreakersUsual,
  };
}

/** Ids of tokens come as the names of fields. */
function logitBiasOf(biases: Readonly<Record<string, number>> | null | undefined): LogitBias | null {
  const entries = Object.entries(biases ?? {});
  if (entries.length === 0) return null;
  return {
    tokens: Int32Array.from(entries, ([token]) => Number(token)),
    values: Float32Array.from(entries, ([, bias]) => bias),
  };
}

/**
 * Seeds of 32 bits: any integer counts modulo 2^32. Beyond 2^53 JSON numbers are multiples of a power of two, whose low
 * bits say nothing, so the upper half is mixed into them.
 */
function seedOf(seed: number): number {
  if (Number.isSafeInteger(seed)) return seed >>> 0;
  const bits = BigInt.asUintN(64, BigInt(seed));
  return Number((bits >> 32n) ^ (bits & 0xffff_ffffn));
}
