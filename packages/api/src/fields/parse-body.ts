import { ButterflyError } from '@butterfly/common';
import type { z } from 'zod';

export function unsupportedField(param: string, what: string): ButterflyError {
  return new ButterflyError('REQUEST_UNSUPPORTED', `${param}: ${what}.`, { param });
}

export function invalid(param: string, what: string): ButterflyError {
  return new ButterflyError('REQUEST_INVALID', `${param}: ${what}.`, { param });
}

/**
 * @param at the field that the value is in, where it is not the whole body
 * @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field.
 */
export function parseBody<S extends z.ZodType>(schema: S, body: unknown, at?: string): z.output<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const start = at === undefined ? [] : [at];
  const path = [...start, ...(issue?.path ?? [])].join('.');
  if (issue?.code === 'unrecognized_keys') {
    const param = [...start, ...issue.path, issue.keys[0] ?? ''].join('.');
    throw new ButterflyError('REQUEST_UNSUPPORTED', `${param}: no such field is known here; leave it out.`, {
      param,
    });
  }
  if (path === '') throw new ButterflyError('REQUEST_INVALID', 'The request body must be a JSON object.');
  if (issue?.code === 'custom' && issue.params?.unsupported === true)
    throw new ButterflyError('REQUEST_UNSUPPORTED', `${path}: ${issue.message}.`, { param: path });
  throw invalid(path, issue?.message ?? 'invalid');
}
