import type { Logger } from '../log.js';
import { fieldsOf, type Line, lineOfBreach, writeLine } from './log-line.js';
import type { WorkerEvent, WorkerEventOf, WorkerObserver } from './worker-events.js';

type Kind = WorkerEvent['kind'];

/** Null for what is told on the terminal. */
const lines: { readonly [K in Kind]: ((event: WorkerEventOf<K>) => Line) | null } = {
  machineMeasured: (event) => ['info', 'This machine was measured for the model.', fieldsOf(event)],
  speedGuessed: ({ part }) =>
    part === 'layer'
      ? ['warn', 'No layer fits the memory that is offered; its speed is guessed from its size.', {}]
      : [
          'info',
          'The output does not fit the memory that is offered; its speed is guessed from its size.',
          {},
        ],
  measurementsDamaged: ({ path, error }) => [
    'warn',
    `${path} is damaged and is measured anew.`,
    { err: error },
  ],
  measurementsNotKept: ({ directory, error }) => [
    'warn',
    `The measurements could not be kept in ${directory}.`,
    { err: error },
  ],
  coresMaySleep: (event) => [
    'debug',
    'Cores may sleep between steps, because the system takes no request against it.',
    fieldsOf(event),
  ],
  orchestratorAwaited: null,
  dialFailed: ({ code, message }) => ['info', message, { code }],
  orchestratorLost: null,
  orchestratorRejoined: null,
  protocolBroken: lineOfBreach,
  weightsLoading: (event) => ['info', 'Loading the weights.', fieldsOf(event)],
  weightsLoaded: (event) => ['info', 'The weights are loaded.', fieldsOf(event)],
  weightsNotLoaded: ({ shardId, code, message }) => ['error', message, { shardId, code }],
  weightsUnsound: (event) => [
    'error',
    'Weights are NaN or infinite, so that every request will fail; check the model file.',
    fieldsOf(event),
  ],
  determinismBroken: () => [
    'warn',
    'Rows depend on what else is in their step in spite of deterministic mode; report this.',
    {},
  ],
  stageReady: (event) => ['info', 'The stage is ready.', fieldsOf(event)],
  stageFailed: ({ epoch, code, message, lostWorkerId }) => ['error', message, { epoch, code, lostWorkerId }],
  stageNumbersFailed: (event) => [
    'error',
    'Numbers of a request became NaN or infinite in this stage; check the model file.',
    { ...fieldsOf(event), code: 'COMPUTE_FAILED' },
  ],
  localFileLeft: (event) => ['warn', 'the local model file is of no more use', fieldsOf(event)],
  peerLeft: ({ workerId, code, message }) => [
    'warn',
    `a peer is asked for no more weights: ${message}`,
    { workerId, code },
  ],
  cacheNotPrepared: (event) => ['warn', 'the cache cannot be prepared', fieldsOf(event)],
  cacheNotRead: (event) => [
    'warn',
    'the cache cannot be read; weights of this load come from elsewhere, check its disk',
    fieldsOf(event),
  ],
  cacheNotWritten: (event) => [
    'warn',
    'the cache cannot be written to; weights of this load are not kept, check the space and permissions of its disk',
    fieldsOf(event),
  ],
  cacheIndexNotRead: (event) => [
    'warn',
    'an index of the cache cannot be read; what it tells of counts as missing, check the disk',
    fieldsOf(event),
  ],
  cachedRangeRemoved: (event) => ['warn', 'a corrupt part of the cache is removed', fieldsOf(event)],
  cachedImageRemoved: (event) => ['warn', 'a damaged part of the cache is removed', fieldsOf(event)],
  imageKept: (event) => ['info', 'The weights are kept as the kernels want them.', fieldsOf(event)],
  imageNotKept: (event) => [
    'warn',
    'converted weights are not kept: the cache cannot be written to, check the space and permissions of its disk',
    fieldsOf(event),
  ],
};

/** The first reader of what happens in the process of a worker. */
export function workerLogObserver(log: Logger): WorkerObserver {
  return (event) => writeLine(log, event, workerLineOf(event.kind, event));
}

/** What a person reads of an event; null for what is told on the terminal. */
export function workerLineOf<K extends Kind>(kind: K, event: WorkerEventOf<K>): Line | null {
  return lines[kind]?.(event) ?? null;
}
