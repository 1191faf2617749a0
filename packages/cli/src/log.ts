import { type Logger, createLogger, printable, printableLine } from '@butterfly/common';
import { type LogFormat, logFormats } from 'butterfly/process';
import { Option } from 'commander';
import type { Environment } from './environment.js';
import { hasColours } from './terminal.js';

/** What commands with a log take from their command line. */
export interface LogFlags {
  readonly logFormat?: LogFormat;
}

/** `--log-format`, for the commands that have a log. */
export function logFormatOption(): Option {
  return new Option(
    '--log-format <format>',
    'how log lines are written; auto is pretty on a terminal and JSON elsewhere (default: BUTTERFLY_LOG_FORMAT, else auto)',
  ).choices(logFormats);
}

/** The log of a command on its standard error. */
export async function openLog(environment: Environment, flags: LogFlags, name: string): Promise<Logger> {
  const level = environment.BUTTERFLY_LOG ?? 'warn';
  const asked = flags.logFormat ?? environment.BUTTERFLY_LOG_FORMAT ?? 'auto';
  const isPretty = asked === 'pretty' || (asked === 'auto' && process.stderr.isTTY);
  return createLogger({ level, name, ...(isPretty ? { format: await prettyFormat(environment) } : {}) });
}

/** Lines for people. It is loaded only for them: every other process starts without. */
async function prettyFormat(environment: Environment): Promise<(line: string) => string> {
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory({
    colorize: hasColours(environment, process.stderr),
    ignore: 'pid,hostname',
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return (line) => pretty(shown(JSON.parse(line), ''));
}

/** A record whose texts have nothing that a terminal would obey; only the stack of an error has lines. */
function shown(value: unknown, key: string): unknown {
  if (typeof value === 'string') return key === 'stack' ? printable(value) : printableLine(value);
  if (Array.isArray(value)) return value.map((each) => shown(each, ''));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [printableLine(name), shown(each, name)]),
  );
}
