import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { sampleEvents, sampleWorkerEvents } from '../testing/sample-events.js';
import { lineOf } from './event-log.js';
import type { ButterflyEvent } from './events.js';
import type { Line } from './log-line.js';
import { workerLineOf } from './worker-event-log.js';
import type { WorkerEvent } from './worker-events.js';

const page = readFileSync(new URL('../../../../docs/logs.md', import.meta.url), 'utf8');

type Row = readonly [event: string, level: string, sentence: string, fields: string];

/** A row for each line that an event may have. */
function rowsOf(kind: string, lines: readonly (Line | null)[]): Row[] {
  return lines.map((line) => {
    const [level, sentence, fields] = line ?? ['not logged', '', {}];
    const names = Object.keys(fields).filter((name) => name !== 'modelId');
    return [`\`${kind}\``, level, sentence, names.map((name) => `\`${name}\``).join(', ')];
  });
}

function documented(heading: string): string[][] {
  const part = page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = part.split('\n').filter((line) => line.startsWith('| `'));
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe('docs/logs.md', () => {
  it('has every event of an orchestrator as the log has it', () => {
    const rows = Object.entries(sampleEvents).flatMap(([kind, samples]) =>
      rowsOf(
        kind,
        samples.map((sample) => {
          const event = { kind, ...sample } as ButterflyEvent;
          return lineOf(event.kind, event);
        }),
      ),
    );
    expect(documented('Of an orchestrator')).toEqual(rows);
  });

  it('has every event of a worker as the log has it', () => {
    const rows = Object.entries(sampleWorkerEvents).flatMap(([kind, samples]) =>
      rowsOf(
        kind,
        samples.map((sample) => {
          const event = { kind, ...sample } as WorkerEvent;
          return workerLineOf(event.kind, event);
        }),
      ),
    );
    expect(documented('Of a worker')).toEqual(rows);
  });

  it('names the request in every line of one', () => {
    for (const [kind, samples] of Object.entries(sampleEvents))
      for (const sample of samples) {
        if (!('requestId' in sample)) continue;
        const event = { kind, ...sample } as ButterflyEvent;
        const line = lineOf(event.kind, event);
        if (line) expect(line[2], kind).toHaveProperty('requestId', 'req_1');
      }
  });
});
