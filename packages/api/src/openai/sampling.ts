import { randomInt } from 'node:crypto';
import type { SamplingParams } from '@butterfly/wire';
import type { z } from 'zod';
import type { ShapeOf } from '../fields/field-kinds.js';
import type { sharedFields } from './fields.js';

/** What says how tokens are drawn. */
type SamplingFields = Pick<
  z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>,
  | 'temperature'
  | 'top_k'
  | 'top_p'
  | 'min_p'
  | 'repeat_penalty'
  | 'frequency_penalty'
  | 'presence_penalty'
  | 'seed'
>;

/** How the fields that all endpoints share have tokens drawn. */
export function samplingOf(fields: SamplingFields): SamplingParams {
  return {
    temperature: fields.temperature ?? 1,
    topK: Math.min(Math.max(fields.top_k ?? 0, 0), topKMax),
    topP: fields.top_p ?? 1,
    minP: fields.min_p ?? 0,
    repeatPenalty: fields.repeat_penalty ?? 1,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    presencePenalty: fields.presence_penalty ?? 0,
    seed: fields.seed == null ? randomInt(2 ** 32) : seedOf(fields.seed),
  };
}

/** What its field on the wire holds, and more than any vocabulary has. */
const topKMax = 2 ** 31;

/**
 * Seeds of 32 bits: any integer counts modulo 2^32. Beyond 2^53 JSON numbers are multiples of a power of two, whose low
 * bits say nothing, so the upper half is mixed into them.
 */
function seedOf(seed: number): number {
  if (Number.isSafeInteger(seed)) return seed >>> 0;
  const bits = BigInt.asUintN(64, BigInt(seed));
  return Number((bits >> 32n) ^ (bits & 0xffff_ffffn));
}
