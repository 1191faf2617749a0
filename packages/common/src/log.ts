import { pino } from 'pino';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Structured log: `log.info({ fields }, 'sentence')`. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A pino logger that writes JSON lines to standard error, leaving standard output to the command. */
export function createLogger(options: { readonly level: LogLevel; readonly name: string }): Logger {
  return pino(
    { level: options.level, name: options.name },
    // Synchronous: the last lines before an exit are the ones that matter.
    pino.destination({ fd: 2, sync: true }),
  );
}

export const silentLogger: Logger = pino({ level: 'silent' });
