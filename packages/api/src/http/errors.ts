import { ButterflyError, limits, toButterflyError } from '@butterfly/common';

/** An error as HTTP gives it: mostly the status of the table, but 405 and 415 have no code of their own. */
interface HttpFailure {
  readonly error: ButterflyError;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** A request that HTTP has a status of its own for. */
export class HttpRefusal extends ButterflyError {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super('REQUEST_INVALID', message);
  }
}

/** Statuses below 500 that say that the same request may do better later. */
const worthRepeating: readonly number[] = [408, 409, 429];

/**
 * Our own code, whatever word the body has for clients; and where the same request would fail again, a word to OpenAI's
 * clients, which else repeat it whenever the status is 500 or above.
 */
function errorHeaders(error: ButterflyError, status: number): Record<string, string> {
  const isFinal = error.code === 'TIMEOUT' || (status < 500 && !worthRepeating.includes(status));
  return { 'x-butterfly-code': error.code, ...(isFinal ? { 'x-should-retry': 'false' } : {}) };
}

/** Turns anything thrown, fastify's own errors included, into what the client is told. */
export function toHttpFailure(thrown: unknown): HttpFailure {
  const { error, status } = statusOf(thrown);
  const own = error instanceof HttpRefusal ? error.headers : {};
  return { error, status, headers: { ...errorHeaders(error, status), ...own } };
}

function statusOf(thrown: unknown): Pick<HttpFailure, 'error' | 'status'> {
  if (thrown instanceof HttpRefusal) return { error: thrown, status: thrown.status };
  const own = (error: ButterflyError) => ({ error, status: error.kind.httpStatus });
  if (thrown instanceof Error && !(thrown instanceof ButterflyError)) {
    const { code, statusCode } = thrown as { code?: unknown; statusCode?: unknown };
    if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
      return own(
        new ButterflyError(
          'REQUEST_TOO_LARGE',
          `The request body is larger than ${limits.requestBodyBytesMax} bytes; shorten it.`,
        ),
      );
    if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
      return statusOf(new HttpRefusal(415, 'Send the body as JSON, with "content-type: application/json".'));
    if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
      return {
        error: new ButterflyError('REQUEST_INVALID', thrown.message, { cause: thrown }),
        status: statusCode,
      };
  }
  return own(toButterflyError(thrown));
}

/** What may leave the house: the words of a defect may name paths and internals, so they go to the log alone. */
export function publicError(error: ButterflyError, requestId: string): ButterflyError {
  if (error.code !== 'INTERNAL') return error;
  return new ButterflyError(
    'INTERNAL',
    `A defect in Butterfly ended this request; the server's log has it under ${requestId}.`,
  );
}
