import type { Logger } from '../log.js';

type RecordedLine = readonly [level: string, message: string, fields: object];

/** A log that remembers what was written. */
export function recordingLog(): { readonly log: Logger; readonly lines: RecordedLine[] } {
  const lines: RecordedLine[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push([level, message, fields]);
  return {
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    lines,
  };
}
