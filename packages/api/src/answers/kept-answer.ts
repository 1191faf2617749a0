import { ButterflyError } from '@butterfly/common';
import type { RequestRecord } from '@butterfly/journal';
import { z } from 'zod';
import { type AnswerHandle, handleText } from './answer-handle.js';

/** A request with all that was drawn or decided for it, so that its answer can be made again as it was: a plain value. */
export interface KeptAnswer {
  readonly requestId: string;
  readonly handle: AnswerHandle;
  /** On whose behalf, and how urgent that makes it. */
  readonly tenant: string | undefined;
  readonly priority: number;
  /** The model's own id. */
  readonly model: string;
  /** Where it was asked, which says how it is read, and what. */
  readonly url: string;
  readonly body: unknown;
  /** Where the client named none, it was drawn. */
  readonly seed: number;
  /** What the answer is called. */
  readonly answerId: string;
  readonly createdS: number;
  /** In milliseconds since 1970. */
  readonly deadlineMs: number;
}

const askedSchema = z.object({
  handle: z.object({ kind: z.enum(['conversation', 'key', 'response']), id: z.string() }),
  tenant: z.string().optional(),
  priority: z.number(),
  url: z.string(),
  body: z.unknown(),
  seed: z.number(),
  answerId: z.string(),
  createdS: z.number(),
});

export function recordOf({ requestId, model, deadlineMs, ...asked }: KeptAnswer): RequestRecord {
  return {
    id: requestId,
    handle: handleText(asked.handle, asked.tenant),
    model,
    startedMs: asked.createdS * 1000,
    deadlineMs,
    asked: JSON.stringify(asked),
  };
}

/** @throws ButterflyError JOURNAL_FAILED for what this version does not read */
export function keptAnswerOf({ id, model, deadlineMs, asked }: RequestRecord): KeptAnswer {
  try {
    const { tenant, ...rest } = askedSchema.parse(JSON.parse(asked));
    return { requestId: id, model, deadlineMs, tenant, ...rest };
  } catch (cause) {
    throw new ButterflyError(
      'JOURNAL_FAILED',
      `Request ${id} was kept by another version, in a form that is not known here.`,
      { cause },
    );
  }
}
