import { z } from 'zod';
import type { RequestRecord } from './journal.js';

const schema = z.strictObject({
  id: z.string(),
  handle: z.string(),
  model: z.string(),
  startedMs: z.number(),
  deadlineMs: z.number(),
  asked: z.string(),
});

export function recordBytes(record: RequestRecord): Uint8Array {
  const { id, handle, model, startedMs, deadlineMs, asked } = record;
  return Buffer.from(JSON.stringify({ id, handle, model, startedMs, deadlineMs, asked }));
}

/** Null for bytes that are no record. */
export function recordOf(bytes: Uint8Array): RequestRecord | null {
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return null;
  }
}
