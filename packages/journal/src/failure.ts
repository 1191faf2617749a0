import { ButterflyError } from '@butterfly/common';

/** Why an operation failed, in words for whoever runs the server. */
export function failed(what: string, cause?: unknown): ButterflyError {
  const why = cause instanceof Error && !(cause instanceof ButterflyError) ? ` (${cause.message})` : '';
  return new ButterflyError('JOURNAL_FAILED', `${what}${why}.`, { cause });
}
