export { addressBlock } from './address-block.js';
export { addressForOthers } from './address-for-others.js';
export { systemClock } from './clock.js';
export type { Clock } from './clock.js';
export { formatAddress, isLoopbackHost, parseAddress, parseConfig } from './config.js';
export type { Address } from './config.js';
export {
  ButterflyError,
  ensure,
  errorCodeOf,
  errorTable,
  exitCodes,
  isErrorCode,
  isLinkError,
  toButterflyError,
} from './errors.js';
export type { ErrorCode, ErrorKind } from './errors.js';
export { lineOf, logObserver } from './events/event-log.js';
export type {
  BrokenProtocol,
  ButterflyEvent,
  ClusterEvent,
  EngineEvent,
  EventOf,
  EventStage,
  LayerRange,
  LoadedBytes,
  Observer,
  ProcessEvent,
  RequestEvent,
  SequenceEnd,
  StepPart,
  TraceContext,
  TraceEvent,
} from './events/events.js';
export { observerOfModel } from './events/events.js';
export { workerLogObserver } from './events/worker-event-log.js';
export type { WorkerEvent, WorkerObserver } from './events/worker-events.js';
export { deadlines, limits, runningMaxOf } from './limits.js';
export { createLogger, logLevels, silentLogger } from './log.js';
export type { Logger } from './log.js';
export { makeDirectory } from './make-directory.js';
export { packageVersion } from './package-version.js';
export { printable, printableLine } from './printable.js';
export { randomBits, uniforms } from './random.js';
export { secretsEqual } from './secrets.js';
export { shownWord } from './shown-word.js';
export { sha256 } from './sha256.js';
export { percentile, percentiles, poissonArrivals } from './statistics.js';
export { StepCurve } from './step-curve.js';
export { stepMicros } from './step-time.js';
export type { StepTime } from './step-time.js';
export { formatBytes, formatMicros, formatRate } from './units.js';
