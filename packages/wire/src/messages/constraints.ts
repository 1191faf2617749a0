import { z } from 'zod';
import { limits } from '@butterfly/common';
import { count, name, prose } from './fields.js';

const constraintId = count.max(0xffff_ffff);

/** A grammar, in xgrammar's EBNF, that answers will be held to; its vocabulary came before. */
export const constraint = z
  .object({
    kind: z.literal('constraint'),
    constraintId,
    grammar: z
      .string()
      .min(1)
      .max(limits.grammarBytesMax + 64 * 1024),
  })
  .readonly();
/** No answer is held to it any more. */
export const dropConstraint = z.object({ kind: z.literal('dropConstraint'), constraintId }).readonly();
/** Steps may name it from now on. */
export const constraintReady = z.object({ kind: z.literal('constraintReady'), constraintId }).readonly();
export const constraintRefused = z
  .object({ kind: z.literal('constraintRefused'), constraintId, code: name, message: prose })
  .readonly();
