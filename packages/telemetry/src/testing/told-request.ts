import type { ButterflyEvent, EventOf } from '@butterfly/common';

const modelId = 'stories';

/** Events of one model over two workers, as its engine and its API would tell them. */
export const told = {
  joined: (workerId: string, name: string): ButterflyEvent => ({
    ...{ kind: 'workerJoined', workerId, name, memoryBytes: 8e9, threads: 4 },
  }),
  live: (epoch: number, ...workerIds: readonly string[]): ButterflyEvent => ({
    ...{ kind: 'planLive', modelId, replica: 1, epoch },
    stages: workerIds.map((workerId, index) => ({
      workerId,
      layerStart: index * 4,
      layerEnd: index * 4 + 4,
    })),
  }),
  left: (workerId: string, name: string, reason: string): ButterflyEvent => ({
    ...{ kind: 'workerLeft', workerId, name, isOrderly: false, reason },
  }),
  retired: (epoch: number): ButterflyEvent => ({ kind: 'planRetired', modelId, replica: 1, epoch }),
  arrived: (requestId: string): ButterflyEvent => ({
    ...{ kind: 'requestArrived', requestId, route: 'POST /v1/chat/completions' },
  }),
  begun: (requestId: string, promptTokens: number): ButterflyEvent => ({
    ...{ kind: 'requestBegun', modelId, requestId, tenant: 'key1', isStream: true, promptTokens },
  }),
  queued: (requestId: string | null, sequenceId: number, promptTokens: number): ButterflyEvent => ({
    ...{ kind: 'sequenceQueued', modelId, requestId, sequenceId, promptTokens },
  }),
  /** A step that took so many milliseconds and has one part. */
  step: (
    part: Partial<EventOf<'stepDone'>['parts'][number]> & { readonly sequenceId: number },
    elapsedMs: number,
  ): EventOf<'stepDone'> => {
    const whole = { positionStart: 0, rows: 1, guesses: 0, ...part };
    return {
      ...{ kind: 'stepDone', replica: 1, stepId: 0, rows: whole.rows, parts: [whole] },
      elapsedMicros: elapsedMs * 1000,
      stageTimes: [
        { computeMicros: 2000, hostMicros: 500 },
        { computeMicros: 3000, hostMicros: 100 },
      ],
      ...{ scheduleMicros: 10, completeMicros: 10 },
      ...{ modelId },
    };
  },
  came: (sequenceId: number, tokens = 1): ButterflyEvent => ({
    kind: 'tokensCame',
    modelId,
    sequenceId,
    tokens,
  }),
  sequenceEnded: (sequenceId: number, cachedPromptTokens = 0): ButterflyEvent => ({
    ...{ kind: 'sequenceEnded', modelId, sequenceId, reason: 'stop', cachedPromptTokens },
  }),
  ended: (requestId: string, promptTokens = 0, outputTokens = 0): ButterflyEvent => ({
    ...{ kind: 'requestEnded', modelId, requestId, completionId: 'chat-1', totalMs: 1 },
    ...{ promptTokens, outputTokens },
  }),
  sent: (requestId: string, status = 200): ButterflyEvent => ({
    ...{ kind: 'responseSent', requestId, method: 'POST', route: '/v1/chat/completions', status },
    elapsedMs: 5,
  }),
};
