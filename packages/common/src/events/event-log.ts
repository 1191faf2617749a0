import type { Logger } from '../log.js';
import type { ButterflyEvent, EventOf, Observer } from './events.js';
import { fieldsOf, type Line, lineOfBreach, writeLine } from './log-line.js';

type Kind = ButterflyEvent['kind'];

/** Null for what would be too much to read. */
const lines: { readonly [K in Kind]: ((event: EventOf<K>) => Line) | null } = {
  workerJoined: (event) => ['info', 'A worker joined.', fieldsOf(event)],
  workerLeft: ({ workerId, name, reason }) => ['warn', `A worker left: ${reason}`, { workerId, name }],
  workerEnrolled: (event) => ['info', 'A new worker was given a certificate.', fieldsOf(event)],
  strangerLeft: ({ peer, code, reason }) => [
    'warn',
    `A peer left before it joined: ${reason}`,
    { peer, code },
  ],
  protocolBroken: lineOfBreach,
  kernelsDiffer: ({ workerId, words }) => ['warn', words, { workerId }],
  numbersApart: ({ words, ...event }) => [
    'error',
    `Two workers came to different numbers and are left out: ${words}.`,
    { ...fieldsOf(event), code: 'COMPUTE_FAILED' },
  ],
  workerMoved: (event) => ['info', 'A worker goes to another replica.', fieldsOf(event)],
  workerFailed: ({ workerId, name, code, message }) => ['error', message, { workerId, name, code }],
  workerPaced: (event) => [
    'info',
    'A worker is planned for as so many times as slow as it measured itself.',
    fieldsOf(event),
  ],
  shardOrdered: (event) => ['info', 'A shard is to be loaded.', fieldsOf(event)],
  shardLoaded: (event) => ['info', 'A shard is loaded.', fieldsOf(event)],
  weightsRefused: ({ workerId, code, message }) => ['error', message, { workerId, code }],
  modelFileChanged: ({ words, code }) => (code === null ? ['warn', words, {}] : ['error', words, { code }]),
  stagesLinking: ({ epoch }) => ['info', 'The stages are to be linked.', { epoch }],
  planLive: (event) => ['info', 'The plan is live.', fieldsOf(event)],
  planRetired: null,
  planningFailed: ({ error, cause }) => ['error', error.message, { code: error.code, err: cause }],
  cacheTypeChosen: ({ cacheType, reason }) => [
    'info',
    `The KV cache is ${cacheType}. ${reason}`,
    { cacheType },
  ],
  sparesLacking: ({ replica, isPassing, words }) => [isPassing ? 'info' : 'warn', words, { replica }],
  drainRefused: ({ workerId, reason }) => ['warn', `It stays: ${reason}`, { workerId }],
  drainResumed: (event) => ['info', 'It was lost before it was empty.', fieldsOf(event)],
  stepDone: null,
  sequenceQueued: null,
  tokensCame: null,
  sequenceEnded: null,
  requestArrived: null,
  requestBegun: null,
  responseSent: null,
  stepStalled: (event) => ['error', 'A step missed its deadline.', fieldsOf(event)],
  requestEnded: (event) => ['debug', 'Request finished.', fieldsOf(event)],
  requestFailed: ({ requestId, method, path, status, error }) => {
    const fields = { requestId, method, path, status, code: error.code };
    return error.code === 'INTERNAL'
      ? ['error', error.message, { ...fields, err: error }]
      : ['debug', error.message, fields];
  },
  certificateReplaced: (event) => ['info', 'The certificate of the API was replaced.', fieldsOf(event)],
  certificateUnusable: ({ reason }) => [
    'warn',
    `The certificate of the API was changed and cannot be used, so the one before stays: ${reason}`,
    {},
  ],
  numbersFailed: ({ sequenceId, requestId }) => [
    'error',
    'Numbers of a request became NaN or infinite; the log of the worker that found it names the layers.',
    { requestId, sequenceId, code: 'COMPUTE_FAILED' },
  ],
  readerTooSlow: (event) => ['warn', 'Cancelled a request whose client reads too slowly.', fieldsOf(event)],
  requestRestored: (event) => ['info', 'An answer goes on that an earlier process began.', fieldsOf(event)],
  requestAbandoned: (event) => [
    'info',
    'Cancelled an answer whose client did not come back.',
    fieldsOf(event),
  ],
  journalFailed: ({ requestId, error }) => [
    'warn',
    `The journal of requests failed: ${error.message}`,
    { requestId, code: error.code, err: error },
  ],
  streamBroken: ({ requestId, isClientGone, error }) => [
    isClientGone ? 'debug' : 'warn',
    'A stream ended early.',
    { requestId, code: error.code, err: error },
  ],
  tracesNotTaken: ({ reason, collector }) => [
    'warn',
    `Traces are not taken, and lost until they are: ${reason}`,
    { collector },
  ],
  tracesTakenAgain: (event) => ['info', 'Traces are taken again.', fieldsOf(event)],
  localWorkerStarted: (event) => ['info', 'A local worker starts.', fieldsOf(event)],
  localWorkerSentAway: (event) => ['info', 'A local worker was sent away.', fieldsOf(event)],
  localWorkerEnded: (event) => ['warn', 'A local worker ended.', fieldsOf(event)],
  modelLoaded: ({ modelId }) => ['info', 'A model was loaded.', { modelId }],
  modelNotLoaded: ({ modelId, error }) => [
    'warn',
    `A model could not be loaded: ${error.message}`,
    { modelId, code: error.code },
  ],
  modelUnloading: ({ modelId }) => ['info', 'A model is unloaded.', { modelId }],
  localWorkerGivenUp: ({ name, lasting }) =>
    lasting
      ? ['error', `A local worker is not started again: ${lasting.message}`, { name, code: lasting.code }]
      : ['error', 'A local worker ended too often and is not started again.', { name }],
};

/** What a person reads of an event; null for what would be too much to read. */
export function lineOf<K extends Kind>(kind: K, event: EventOf<K>): Line | null {
  return lines[kind]?.(event) ?? null;
}

/** The first reader of events: a line of the log for each that a person wants to know of. */
export function logObserver(log: Logger): Observer {
  return (event) => writeLine(log, event, lineOf(event.kind, event));
}
