import { pino, type DestinationStream } from 'pino';
import { printable } from './printable.js';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Structured log: `log.info({ fields }, 'sentence')`. */
export interface Logger {
  /** For whoever looks for a fault. */
  debug(fields: object, message: string): void;
  /** What happens: workers that come and go, plans. */
  info(fields: object, message: string): void;
  /** What somebody should know, although all goes on. */
  warn(fields: object, message: string): void;
  /** What failed. */
  error(fields: object, message: string): void;
}

interface LoggerOptions {
  readonly level: LogLevel;
  readonly name: string;
  /** Makes what is written of a line of JSON, which ends in a new line as that does; by default the line itself. */
  readonly format?: (line: string) => string;
}

/** Lines that wait while the standard error takes none, as on a full disk; the rest is dropped. */
const waitingBytesMax = 2 ** 20;
/** Whoever read the lines has left: a closed terminal, or the other end of a pipe. */
const goneCodes: ReadonlySet<unknown> = new Set(['EIO', 'EPIPE', 'EBADF', 'ENXIO']);

/**
 * A pino logger that writes to standard error, leaving standard output to the command; JSON lines unless `format` says
 * otherwise. A standard error that is gone takes the log along, and nothing else.
 */
export function createLogger({ level, name, format = printable }: LoggerOptions): Logger {
  return pino({ level, name }, standardError(format));
}

function standardError(format: (line: string) => string): DestinationStream {
  // Synchronous: the last lines before an exit are the ones that matter.
  const stream = pino.destination({ fd: 2, sync: true, maxLength: waitingBytesMax });
  let isGone = false;
  stream.on('error', (error: unknown) => {
    isGone ||= error instanceof Error && 'code' in error && goneCodes.has(error.code);
  });
  return {
    write: (line) => {
      if (!isGone) stream.write(format(line));
    },
  };
}

export const silentLogger: Logger = pino({ level: 'silent' });
