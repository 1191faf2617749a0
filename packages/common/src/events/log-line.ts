import type { Logger, LogLevel } from '../log.js';
import type { BrokenProtocol } from './events.js';

/** What a person reads of an event, and fields for programs. */
export type Line = readonly [level: Exclude<LogLevel, 'trace' | 'silent'>, message: string, fields: object];

/**
 * Writes the line of an event, beside its fields with its stable name as `event`, and the model that it is of.
 * @param line null for what would be too much to read
 */
export function writeLine(
  log: Logger,
  { kind: event, modelId }: { readonly kind: string; readonly modelId?: string },
  line: Line | null,
): void {
  if (line) log[line[0]]({ event, ...(modelId === undefined ? {} : { modelId }), ...line[2] }, line[1]);
}

/** All that an event says. */
export function fieldsOf(event: { readonly kind: string }): object {
  return Object.fromEntries(Object.entries(event).filter(([name]) => name !== 'kind'));
}

/** What of a broken protocol a person should think depends on whether the link could have been damaged. */
export function lineOfBreach({ reason, ...event }: BrokenProtocol): Line {
  return event.member === null
    ? ['warn', `A peer broke the protocol: ${reason}`, fieldsOf(event)]
    : [
        'error',
        `A member of the cluster broke the protocol: ${reason} Nothing can damage or forge its link, so that this is a defect of its version, or malice.`,
        fieldsOf(event),
      ];
}
