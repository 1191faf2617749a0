import { describe, expect, it } from 'vitest';
import { ButterflyError } from '../errors.js';
import { recordingLog } from '../testing/recording-log.js';
import { logObserver } from './event-log.js';
import type { ButterflyEvent } from './events.js';

/** What the log says of events: level, sentence, fields. */
function told(...events: readonly ButterflyEvent[]): readonly unknown[] {
  const { log, lines } = recordingLog();
  const observe = logObserver(log);
  for (const event of events) observe(event);
  return lines;
}

describe('the log of events', () => {
  it('says what happened in a sentence that stays the same, with the rest in fields', () => {
    expect(
      told(
        { kind: 'workerJoined', workerId: 'w1', name: 'desk', memoryBytes: 8, threads: 2 },
        { kind: 'workerLeft', workerId: 'w1', name: 'desk', isOrderly: false, reason: 'it was silent' },
      ),
    ).toEqual([
      [
        'info',
        'A worker joined.',
        { event: 'workerJoined', workerId: 'w1', name: 'desk', memoryBytes: 8, threads: 2 },
      ],
      ['warn', 'A worker left: it was silent', { event: 'workerLeft', workerId: 'w1', name: 'desk' }],
    ]);
  });

  it('says of which model it is', () => {
    const plan = { kind: 'stagesLinking', epoch: 2 } as const;
    expect(told({ ...plan, modelId: 'stories' })).toEqual([
      ['info', 'The stages are to be linked.', { event: 'stagesLinking', modelId: 'stories', epoch: 2 }],
    ]);
  });

  it('says nothing of what happens at every token', () => {
    const times = { elapsedMicros: 9, stageTimes: [], scheduleMicros: 1, completeMicros: 1 };
    const step = { replica: 1, stepId: 0, rows: 1, parts: [], ...times };
    expect(told({ kind: 'stepDone', ...step }, { kind: 'planRetired', replica: 1, epoch: 1 })).toEqual([]);
  });

  it('says of who broke the protocol whether their link could have done it', () => {
    const breach = { kind: 'protocolBroken', peer: '192.0.2.7:4711', offences: 2, keptOutMs: 4_000 } as const;
    const [stranger, member] = told(
      { ...breach, member: null, workerId: null, name: null, reason: 'Noise.' },
      { ...breach, member: 'f00d', workerId: 'w2', name: 'desk', reason: 'A step.' },
    );
    const fields = { event: 'protocolBroken', peer: '192.0.2.7:4711', offences: 2, keptOutMs: 4_000 };
    expect(stranger).toEqual([
      'warn',
      'A peer broke the protocol: Noise.',
      { ...fields, member: null, workerId: null, name: null },
    ]);
    expect(member).toEqual([
      'error',
      expect.stringMatching(/^A member of the cluster .*: A step\. Nothing can damage .* malice\.$/u),
      { ...fields, member: 'f00d', workerId: 'w2', name: 'desk' },
    ]);
  });

  it('is loud about defects alone', () => {
    const request = { requestId: 'req_1', method: 'GET', path: '/', status: 400 };
    const [refused, broken] = told(
      { kind: 'requestFailed', ...request, error: new ButterflyError('REQUEST_INVALID', 'no') },
      { kind: 'requestFailed', ...request, error: new ButterflyError('INTERNAL', 'a defect') },
    );
    expect(refused).toEqual(['debug', 'no', { event: 'requestFailed', ...request, code: 'REQUEST_INVALID' }]);
    expect(broken).toMatchObject(['error', 'a defect', { code: 'INTERNAL' }]);
  });
});
