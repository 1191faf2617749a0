/** What a code means to each outlet: the HTTP status and OpenAI `error.type`, and the exit code of the terminal. */
export interface ErrorKind {
  readonly httpStatus: number;
  readonly openaiType: 'invalid_request_error' | 'not_found_error' | 'rate_limit_error' | 'server_error';
  readonly exitCode: number;
  readonly meaning: string;
  /** What the HTTP API says instead of our code, where clients act on a word of their own. */
  readonly apiCode?: string;
}

/** Exit codes of the command line, documented in docs/operations.md. */
export const exitCodes = { ok: 0, internal: 1, usage: 2, model: 3, network: 4, engine: 5 } as const;

const request = (httpStatus: number, meaning: string): ErrorKind => ({
  httpStatus,
  openaiType: 'invalid_request_error',
  exitCode: exitCodes.usage,
  meaning,
});
const server = (httpStatus: number, exitCode: number, meaning: string): ErrorKind => ({
  httpStatus,
  openaiType: 'server_error',
  exitCode,
  meaning,
});

/** The one table of error codes, shared by wire, API, command line and docs/errors. */
export const errorTable = {
  CONFIG_INVALID: request(400, 'An option or configuration value is malformed or out of range.'),
  REQUEST_INVALID: request(400, 'The request body is not valid JSON or has a field of the wrong type.'),
  REQUEST_UNSUPPORTED: request(400, 'The request names an option that this server does not have.'),
  CONTEXT_EXCEEDED: {
    ...request(400, 'Prompt and requested output do not fit the context.'),
    apiCode: 'context_length_exceeded',
  },
  REQUEST_TOO_LARGE: request(413, 'The request body is larger than the limit.'),
  NOT_FOUND: {
    httpStatus: 404,
    openaiType: 'not_found_error',
    exitCode: exitCodes.usage,
    meaning: 'There is no such route, model, worker or file.',
  },
  UNAUTHENTICATED: {
    httpStatus: 401,
    openaiType: 'invalid_request_error',
    exitCode: exitCodes.network,
    meaning: 'An API key is missing, unknown, revoked or has expired.',
    apiCode: 'invalid_api_key',
  },
  ACCESS_DENIED: {
    httpStatus: 403,
    openaiType: 'invalid_request_error',
    exitCode: exitCodes.network,
    meaning: 'A token is missing, or a token or key does not allow this.',
  },
  RATE_LIMITED: {
    httpStatus: 429,
    openaiType: 'rate_limit_error',
    exitCode: exitCodes.engine,
    meaning: 'An API key has had all that its limits allow for now; retry later.',
    apiCode: 'rate_limit_exceeded',
  },
  QUEUE_FULL: {
    httpStatus: 429,
    openaiType: 'rate_limit_error',
    exitCode: exitCodes.engine,
    meaning: 'Too many requests are waiting; retry later.',
  },
  CANCELLED: server(499, exitCodes.internal, 'The client went away or the request was cancelled.'),
  CLUSTER_NOT_READY: server(503, exitCodes.engine, 'No plan is live: workers are missing or still loading.'),
  WORKER_LOST: server(503, exitCodes.engine, 'A worker died and nobody could take its layers in time.'),
  TIMEOUT: server(504, exitCodes.network, 'A wait reached its deadline.'),
  MODEL_NOT_FOUND: server(500, exitCodes.model, 'The model file does not exist or cannot be read.'),
  MODEL_NOT_GGUF: server(500, exitCodes.model, 'The file is not a GGUF file of a known version.'),
  MODEL_TRUNCATED: server(500, exitCodes.model, 'The model file ends before its tensors do.'),
  MODEL_CORRUPT: server(500, exitCodes.model, 'The metadata or tensor table contradicts itself.'),
  MODEL_CHANGED: server(500, exitCodes.model, 'The model file was changed or replaced since it was opened.'),
  MODEL_UNSUPPORTED: server(500, exitCodes.model, 'The architecture or a tensor type is not supported.'),
  MODEL_TOO_LARGE: server(500, exitCodes.model, 'The model does not fit the memory of the workers.'),
  DISK_FULL: server(500, exitCodes.model, 'There is no room on the disk for a file.'),
  JOURNAL_FAILED: server(500, exitCodes.engine, 'The journal of requests could not be read or written.'),
  LIBRARY_MISSING: server(500, exitCodes.engine, 'No ggml libraries were found for this platform.'),
  LIBRARY_MISMATCH: server(
    500,
    exitCodes.engine,
    'The ggml libraries lack a symbol or have another version.',
  ),
  COMPUTE_INVALID: server(500, exitCodes.engine, 'A shape, type or bound check failed before a native call.'),
  COMPUTE_FAILED: server(500, exitCodes.engine, 'A native computation or allocation failed.'),
  ADDRESS_INVALID: server(500, exitCodes.usage, 'An address is not HOST:PORT.'),
  PORT_IN_USE: server(500, exitCodes.network, 'Another process listens on the port.'),
  PEER_UNREACHABLE: server(503, exitCodes.network, 'A host refused the connection or did not answer.'),
  CONNECTION_CLOSED: server(503, exitCodes.network, 'The other side closed the connection.'),
  PEER_UNTRUSTED: server(
    503,
    exitCodes.network,
    'The other side could not prove that it belongs to this cluster.',
  ),
  JOIN_REFUSED: server(403, exitCodes.network, 'The orchestrator refused this worker.'),
  KEPT_OUT: server(
    503,
    exitCodes.network,
    'This side broke the protocol, and is not let in again for a while.',
  ),
  PROTOCOL_VERSION: server(500, exitCodes.network, 'The two sides speak different protocol versions.'),
  PROTOCOL_INVALID: server(500, exitCodes.network, 'A frame is malformed, corrupt or out of place.'),
  INTERNAL: server(500, exitCodes.internal, 'A defect in Butterfly.'),
} as const satisfies Record<string, ErrorKind>;

/** docs/errors.md has them all with what they mean. */
export type ErrorCode = keyof typeof errorTable;

/** An error of the table. `message` says what was wrong and what to do about it. */
export class ButterflyError extends Error {
  override readonly name = 'ButterflyError';
  /** The request field or option that is at fault, where there is one. */
  readonly param: string | undefined;
  /** How long whoever is told need not try again, where that is known. */
  readonly retryAfterMs: number | undefined;

  /** An error with a code of docs/errors.md, and a message that says what to do. */
  constructor(
    readonly code: ErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly param?: string; readonly retryAfterMs?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.param = options.param;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** The row of the table: HTTP status, exit code, meaning. */
  get kind(): ErrorKind {
    return errorTable[this.code];
  }
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

/** The code that the HTTP API says as this word; null for a word that is none of its own. */
export function errorCodeOf(word: string): ErrorCode | null {
  if (isErrorCode(word)) return word;
  const rows: readonly (readonly [string, ErrorKind])[] = Object.entries(errorTable);
  const code = rows.find(([, { apiCode }]) => apiCode === word)?.[0] ?? '';
  return isErrorCode(code) ? code : null;
}

/** What tells of another process, or of the way to it, and not of whoever reports it. */
const linkErrors: ReadonlySet<ErrorCode> = new Set([
  'CONNECTION_CLOSED',
  'PEER_UNREACHABLE',
  'PEER_UNTRUSTED',
  'TIMEOUT',
]);

/** Whether an error is the loss of a link, which is no fault of the side that reports it. */
export function isLinkError(code: ErrorCode): boolean {
  return linkErrors.has(code);
}

/** Wraps anything thrown into a table error, so that every outlet has a code. */
export function toButterflyError(thrown: unknown): ButterflyError {
  if (thrown instanceof ButterflyError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ButterflyError('INTERNAL', message, { cause: thrown });
}

/** Throws COMPUTE_INVALID unless the condition holds: the guard in front of native calls. */
export function ensure(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new ButterflyError('COMPUTE_INVALID', message());
}
