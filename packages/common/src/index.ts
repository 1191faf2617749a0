export {
  ButterflyError,
  ensure,
  errorTable,
  exitCodes,
  isErrorCode,
  isLinkError,
  toButterflyError,
} from './errors.js';
export type { ErrorCode, ErrorKind } from './errors.js';
export { deadlines, limits } from './limits.js';
export { systemClock } from './clock.js';
export type { Clock } from './clock.js';
export { createLogger, logLevels, silentLogger } from './log.js';
export type { Logger, LogLevel } from './log.js';
export { printable, printableLine } from './printable.js';
export { secretsEqual } from './secrets.js';
export { sha256 } from './sha256.js';
export { formatAddress, parseAddress, parseConfig } from './config.js';
export type { Address } from './config.js';
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
export { encodeFrame, protocolVersion } from './wire/frame.js';
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
export type { ControlMessage, ControlMessageOf, WorkerIdentity, WorkerProfile } from './wire/messages.js';
export { Connection } from './wire/connection.js';
export type { ByteStream, ConnectionHandlers, ConnectionOptions, Heartbeat } from './wire/connection.js';
export { dial, dialOver, listen, listenError, tcpTransport } from './wire/transport.js';
export type {
  DialOptions,
  IncomingStream,
  Listener,
  ListenOptions,
  OpeningStream,
  Transport,
} from './wire/transport.js';
export { blockSpeed } from './wire/block-speed.js';
export type { TimedBlock } from './wire/block-speed.js';
export { RangeServer } from './wire/range-server.js';
export type { AskedRange, RangeDigests, RangeReader } from './wire/range-server.js';
export { decodeActivations, encodeActivations } from './wire/activations.js';
export { formatBytes, formatMicros, formatRate } from './units.js';
export { stepMicros } from './step-time.js';
export type { StepTime } from './step-time.js';
export { greedySampling } from './wire/sampling.js';
export { makeDirectory } from './make-directory.js';
