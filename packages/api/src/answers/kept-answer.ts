import { createHash } from 'node:crypto';
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
  /** Where it was asked, which says how its body is read. */
  readonly url: string;
  /** By which the same request is known again; the body itself may have megabytes. */
  readonly bodyHash: string;
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

/** SHA-256 of its text, so that another order of fields is another request. */
export const bodyHash = (body: unknown): string =>
  createHash('sha256').update(JSON.stringify(body)).digest('base64');

/** @param body of the request, which is read again where the answer goes on */
export function recordOf(kept: KeptAnswer, body: unknown): RequestRecord {
  const { requestId: id, handle, tenant, model, createdS, deadlineMs } = kept;
  return {
    ...{ id, model, deadlineMs, handle: handleText(handle, tenant), startedMs: createdS * 1000 },
    asked: JSON.stringify({ ...kept, body }),
  };
}

/** @throws ButterflyError JOURNAL_FAILED for what this version does not read */
export function keptAnswerOf({ id, model, deadlineMs, asked }: RequestRecord): {
  readonly kept: KeptAnswer;
  readonly body: unknown;
} {
  try {
    const { tenant, body, ...rest } = askedSchema.parse(JSON.parse(asked));
    const kept = { requestId: id, model, deadlineMs, tenant, bodyHash: bodyHash(body), ...rest };
    return { kept, body };
  } catch (cause) {
    throw new ButterflyError(
      'JOURNAL_FAILED',
      `Request ${id} was kept by another version, in a form that is not known here.`,
      { cause },
    );
  }
}
