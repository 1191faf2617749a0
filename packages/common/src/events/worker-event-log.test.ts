import { describe, expect, it } from 'vitest';
import { ButterflyError } from '../errors.js';
import { recordingLog } from '../testing/recording-log.js';
import { workerLogObserver } from './worker-event-log.js';
import type { WorkerEvent } from './worker-events.js';

/** What the log says of events: level, sentence, fields. */
function told(...events: readonly WorkerEvent[]): readonly unknown[] {
  const { log, lines } = recordingLog();
  const observe = workerLogObserver(log);
  for (const event of events) observe(event);
  return lines;
}

describe('the log of a worker', () => {
  it('says what happened in a sentence that stays the same, with the rest in fields', () => {
    expect(
      told(
        { kind: 'weightsLoading', shardId: 'aa', layers: [0, 6] },
        { kind: 'stageReady', epoch: 1, layers: [0, 6], shardId: 'aa' },
      ),
    ).toEqual([
      ['info', 'Loading the weights.', { event: 'weightsLoading', shardId: 'aa', layers: [0, 6] }],
      ['info', 'The stage is ready.', { event: 'stageReady', epoch: 1, layers: [0, 6], shardId: 'aa' }],
    ]);
  });

  it('says of failures what they say themselves', () => {
    const failure = { code: 'TIMEOUT', message: 'It was silent.' } as const;
    expect(
      told(
        { kind: 'stageFailed', epoch: 2, ...failure, lostWorkerId: 'w2' },
        { kind: 'peerLeft', workerId: 'w3', ...failure },
      ),
    ).toEqual([
      ['error', 'It was silent.', { event: 'stageFailed', epoch: 2, code: 'TIMEOUT', lostWorkerId: 'w2' }],
      [
        'warn',
        'a peer is asked for no more weights: It was silent.',
        { event: 'peerLeft', workerId: 'w3', code: 'TIMEOUT' },
      ],
    ]);
  });

  it('shows errors as the logger shows them', () => {
    const error = new ButterflyError('INTERNAL', 'not JSON');
    expect(told({ kind: 'measurementsDamaged', path: '/p', error })).toEqual([
      ['warn', '/p is damaged and is measured anew.', { event: 'measurementsDamaged', err: error }],
    ]);
  });
});
