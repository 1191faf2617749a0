import { ButterflyError, limits, toButterflyError } from '@butterfly/common';

/** An error as HTTP gives it: mostly the status of the table, but 405 and 415 have no code of their own. */
interface HttpFailure {
  readonly error: ButterflyError;
  readonly status: number;
}

/** OpenAI's error shape. */
export function errorBody(error: ButterflyError): object {
  return {
    error: {
      message: error.message,
      type: error.kind.openaiType,
      param: error.param ?? null,
      code: error.code,
    },
  };
}

/** Turns anything thrown, fastify's own errors included, into what the client is told. */
export function toHttpFailure(thrown: unknown): HttpFailure {
  const own = (error: ButterflyError, status = error.kind.httpStatus): HttpFailure => ({ error, status });
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
      return own(
        new ButterflyError(
          'REQUEST_INVALID',
          'Send the body as JSON, with "content-type: application/json".',
        ),
        415,
      );
    if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
      return own(new ButterflyError('REQUEST_INVALID', thrown.message, { cause: thrown }), statusCode);
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
