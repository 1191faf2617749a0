import type { ButterflyError } from '@butterfly/common';

const typesByStatus: ReadonlyMap<number, string> = new Map([
  [400, 'invalid_request_error'],
  [401, 'authentication_error'],
  [403, 'permission_error'],
  [404, 'not_found_error'],
  [413, 'request_too_large'],
  [429, 'rate_limit_error'],
  [503, 'overloaded_error'],
  [504, 'timeout_error'],
]);

/**
 * Anthropic's error shape.
 * @param status of HTTP, from which the type follows
 */
export function anthropicErrorBody(error: ButterflyError, status: number, requestId: string): object {
  const fallback = status < 500 ? 'invalid_request_error' : 'api_error';
  return {
    type: 'error',
    error: { type: typesByStatus.get(status) ?? fallback, message: wordsOf(error) },
    request_id: requestId,
  };
}

/** Its clients shorten their history when they read that the prompt is too long. */
function wordsOf({ code, message }: ButterflyError): string {
  return code === 'CONTEXT_EXCEEDED' ? `prompt is too long: ${message}` : message;
}
