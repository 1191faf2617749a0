import { ButterflyError } from '@butterfly/common';
import { z } from 'zod';

/** What a batch may ask, as OpenAI's batches do. */
const urls = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses'] as const;

const lineSchema = z.object({
  custom_id: z.string().min(1),
  method: z.literal('POST'),
  url: z.enum(urls, { error: `expected one of ${urls.join(', ')}` }),
  body: z.looseObject({
    stream: z.literal(false, { error: 'a batch has whole answers; leave it out' }).nullish(),
  }),
});

/** One request of a batch. */
export interface BatchRequest {
  readonly customId: string;
  readonly url: string;
  readonly body: unknown;
}

/** @param number of the line, from 1. @throws ButterflyError CONFIG_INVALID, naming the line and the field */
export function parseBatchLine(text: string, number: number): BatchRequest {
  const parsed = lineSchema.safeParse(jsonOf(text));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const path = issue?.path.join('.') ?? '';
    const what = path === '' ? 'is no JSON object' : `${path}: ${issue?.message ?? 'invalid'}`;
    throw new ButterflyError('CONFIG_INVALID', `Line ${number} of the batch: ${what}.`);
  }
  const { custom_id: customId, url, body } = parsed.data;
  return { customId, url, body };
}

const resultSchema = z.object({ custom_id: z.string() });

/** The id of a line that an earlier run wrote; null for a line that it did not finish. */
export function finishedId(text: string): string | null {
  return resultSchema.safeParse(jsonOf(text)).data?.custom_id ?? null;
}

interface Answer {
  readonly status: number;
  readonly requestId: string | null;
  readonly body: unknown;
}

/** What is written of an answer, as OpenAI's output files have it. */
export function resultLine(customId: string, { status, requestId, body }: Answer): string {
  const id = `batch_req_${requestId ?? customId}`;
  const response = { status_code: status, request_id: requestId ?? '', body };
  return `${JSON.stringify({ id, custom_id: customId, response, error: null })}\n`;
}

/** What is written where there was no answer. */
export function failureLine(customId: string, { code, message }: ButterflyError): string {
  return `${JSON.stringify({ id: `batch_req_${customId}`, custom_id: customId, response: null, error: { code, message } })}\n`;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
