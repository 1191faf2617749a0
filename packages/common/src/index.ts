export { ButterflyError, ensure, errorTable, exitCodes, isErrorCode, toButterflyError } from './errors.js';
export type { ErrorCode, ErrorKind } from './errors.js';
export { deadlines, limits } from './limits.js';
export { systemClock } from './clock.js';
export type { Clock } from './clock.js';
export { createLogger, logLevels, silentLogger } from './log.js';
export type { Logger, LogLevel } from './log.js';
export { parseAddress, parseConfig } from './config.js';
export type {
  Activations,
  ArenaCopy,
  FileChunk,
  SamplingParams,
  StageTime,
  Step,
  StepResult,
  StepSequence,
} from './wire/types.js';
export { tokenOfStepBefore } from './wire/types.js';
export { PROTOCOL_VERSION } from './wire/frame.js';
export type { Frame, FrameType } from './wire/frame.js';
export {
  decodeFileChunk,
  decodeStep,
  decodeStepResult,
  encodeFileChunk,
  encodeStep,
  encodeStepResult,
} from './wire/step.js';
export { decodeControl, encodeControl } from './wire/messages.js';
export { cacheTypes } from './wire/cache-type.js';
export type { CacheType } from './wire/cache-type.js';
export type { ControlMessage, ControlMessageOf, WorkerIdentity } from './wire/messages.js';
export { Connection } from './wire/connection.js';
export type { ByteStream, ConnectionHandlers, ConnectionOptions, Heartbeat } from './wire/connection.js';
export { dial, listen } from './wire/transport.js';
export type { DialOptions, Listener } from './wire/transport.js';
export { decodeActivations, encodeActivations } from './wire/activations.js';
export { stepMicros } from './step-time.js';
export type { StepTime } from './step-time.js';
export { greedySampling } from './wire/sampling.js';
