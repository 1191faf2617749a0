import { ButterflyError } from '../errors.js';
import type { ButterflyEvent, EventOf } from '../events/events.js';
import type { WorkerEvent, WorkerEventOf } from '../events/worker-events.js';

/** Where a sentence says something else each time. */
const words = '…';
const error = new ButterflyError('TIMEOUT', words);
const defect = new ButterflyError('INTERNAL', words);
const worker = { workerId: 'w1', name: 'desk' };
const loaded = { fileBytes: 1, cacheBytes: 1, peerBytes: 1, orchestratorBytes: 1, elapsedMs: 1 };
const breach = { peer: '192.0.2.7:4711', offences: 1, keptOutMs: 1, reason: words };
const request = { requestId: 'req_1' };
const refused = { ...request, method: 'POST', path: '/v1/completions', status: 400 };

/** Each event, in all ways in which its line differs. */
export const sampleEvents: { readonly [K in ButterflyEvent['kind']]: readonly Omit<EventOf<K>, 'kind'>[] } = {
  workerJoined: [{ ...worker, memoryBytes: 1, threads: 1 }],
  workerLeft: [{ ...worker, isOrderly: false, reason: words }],
  workerEnrolled: [{ peer: breach.peer, member: 'f00d' }],
  strangerLeft: [{ peer: breach.peer, code: 'TIMEOUT', reason: words }],
  protocolBroken: [
    { ...breach, member: null, workerId: null, name: null },
    { ...breach, member: 'f00d', ...worker },
  ],
  kernelsDiffer: [{ workerId: 'w1', words }],
  numbersApart: [{ ...worker, verifierId: 'w2', verifierName: 'attic', layers: [0, 3], words }],
  workerMoved: [{ workerId: 'w1', from: 1, to: 2 }],
  workerFailed: [{ ...worker, code: 'TIMEOUT', message: words }],
  workerPaced: [{ ...worker, factor: 2 }],
  shardOrdered: [{ workerId: 'w1', shardId: 'aa', layers: [0, 3] }],
  shardLoaded: [{ workerId: 'w1', shardId: 'aa', ...loaded }],
  weightsRefused: [{ workerId: 'w1', code: 'TIMEOUT', message: words }],
  modelFileChanged: [
    { words, code: null },
    { words, code: 'TIMEOUT' },
  ],
  stagesLinking: [{ epoch: 1 }],
  planLive: [{ replica: 1, epoch: 1, stages: [] }],
  planRetired: [{ replica: 1, epoch: 1 }],
  planningFailed: [{ error, cause: defect }],
  cacheTypeChosen: [{ cacheType: 'f16', reason: words }],
  sparesLacking: [
    { replica: 1, isPassing: true, words },
    { replica: 1, isPassing: false, words },
  ],
  drainRefused: [{ workerId: 'w1', reason: words }],
  drainResumed: [worker],
  sequenceQueued: [{ sequenceId: 1, ...request, promptTokens: 1 }],
  stepDone: [
    {
      ...{ replica: 1, stepId: 1, rows: 1, parts: [], elapsedMicros: 1, stageTimes: [] },
      ...{ scheduleMicros: 1, completeMicros: 1 },
    },
  ],
  stepStalled: [{ waitedMs: 1 }],
  tokensCame: [{ sequenceId: 1, tokens: 1 }],
  sequenceEnded: [{ sequenceId: 1, reason: 'stop', cachedPromptTokens: 0 }],
  numbersFailed: [{ sequenceId: 1, ...request }],
  requestArrived: [{ ...request, route: 'POST /v1/completions' }],
  requestBegun: [{ ...request, tenant: null, isStream: true, promptTokens: 1 }],
  requestEnded: [{ ...request, completionId: 'cmpl-1', totalMs: 1, promptTokens: 1, outputTokens: 1 }],
  responseSent: [{ ...request, method: 'POST', route: '/v1/completions', status: 200, elapsedMs: 1 }],
  requestFailed: [
    { ...refused, error },
    { ...refused, error: defect },
  ],
  certificateReplaced: [{ expiresAt: '2026-12-02T00:00:00.000Z' }],
  certificateUnusable: [{ reason: words }],
  readerTooSlow: [request],
  requestRestored: [{ ...request, route: 'POST /v1/completions', lines: 1 }],
  requestAbandoned: [{ ...request, graceMs: 1 }],
  journalFailed: [{ ...request, error }],
  streamBroken: [
    { ...request, isClientGone: true, error },
    { ...request, isClientGone: false, error },
  ],
  tracesNotTaken: [{ collector: '127.0.0.1:4318', reason: words }],
  tracesTakenAgain: [{ collector: '127.0.0.1:4318', lostSpans: 1 }],
  localWorkerStarted: [{ name: 'local-1', workerPid: 1 }],
  localWorkerSentAway: [{ name: 'local-1' }],
  localWorkerEnded: [{ name: 'local-1', code: 1, signal: null, restarts: 0, error: words }],
  modelLoaded: [{ modelId: 'stories' }],
  modelNotLoaded: [{ modelId: 'stories', error }],
  modelUnloading: [{ modelId: 'stories' }],
  localWorkerGivenUp: [
    { name: 'local-1', lasting: error },
    { name: 'local-1', lasting: null },
  ],
};

/** The same of the process of a worker. */
export const sampleWorkerEvents: {
  readonly [K in WorkerEvent['kind']]: readonly Omit<WorkerEventOf<K>, 'kind'>[];
} = {
  machineMeasured: [
    {
      ...{ elapsedMs: 1, isSteady: true, layerCurve: [], outputCurve: [] },
      ...{ attentionMicros: {}, diskBytesPerSecond: 1 },
    },
  ],
  speedGuessed: [{ part: 'layer' }, { part: 'output' }],
  measurementsDamaged: [{ path: words, error }],
  measurementsNotKept: [{ directory: words, error }],
  coresMaySleep: [{ cause: words }],
  orchestratorAwaited: [{ error }],
  dialFailed: [{ code: 'TIMEOUT', message: words }],
  orchestratorLost: [{ error }],
  orchestratorRejoined: [{ workerId: 'w1' }],
  protocolBroken: [
    { ...breach, member: null },
    { ...breach, member: 'f00d' },
  ],
  weightsLoading: [{ shardId: 'aa', layers: [0, 3] }],
  weightsLoaded: [{ shardId: 'aa', sharedBytes: 1, warmUpMs: 1, ...loaded }],
  weightsNotLoaded: [{ shardId: 'aa', code: 'TIMEOUT', message: words }],
  weightsUnsound: [{ tensors: [] }],
  determinismBroken: [{}],
  stageReady: [{ epoch: 1, layers: [0, 3], shardId: 'aa' }],
  stageFailed: [{ epoch: 1, code: 'TIMEOUT', message: words, lostWorkerId: null }],
  stageNumbersFailed: [{ epoch: 1, sequenceId: 1, layers: [0, 3] }],
  localFileLeft: [{ code: 'TIMEOUT', error: words }],
  peerLeft: [{ workerId: 'w1', code: 'TIMEOUT', message: words }],
  cacheNotPrepared: [{ directory: words, error: words }],
  cacheNotRead: [{ error: words }],
  cacheNotWritten: [{ error: words }],
  cacheIndexNotRead: [{ path: words, error: words }],
  cachedRangeRemoved: [{ hash: 'aa' }],
  cachedImageRemoved: [{ name: words }],
  imageKept: [{ bytes: 1 }],
  imageNotKept: [{ error: words }],
};
